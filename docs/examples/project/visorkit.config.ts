import { defineVmm } from '@visorkit/project';

export default defineVmm({
  kernel: '../dice.bin',
  loader: 'flat',
  memory: '16M',
  time: 'virtual',
  plugins: ['../log-cpuid', { plugin: '../dice/src/dice.ts', options: { port: 0x5c0 } }],
});
