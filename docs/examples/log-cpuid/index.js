export default {
  name: 'log-cpuid',
  apply({ hooks, logger }) {
    hooks.exit.for('cpuid').tap((exit, vcpu) => logger.info(`CPUID ${vcpu.rax.toString(16)}`));
  },
};
