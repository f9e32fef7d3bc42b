export const commands = [
  {
    name: 'count-cpuid',
    describe: 'run real-mode code, and say how often it executed CPUID',
    arguments: [{ form: '<file>', describe: 'a flat binary' }],
    async run({ arguments: [kernel], run }) {
      let count = 0;
      const counter = { name: 'counter', apply: ({ hooks }) => hooks.exit.for('cpuid').tap(() => void count++) };
      await run({ kernel, mode: 'real16' }, [counter]);
      console.log(`${count} CPUID`);
    },
  },
];
