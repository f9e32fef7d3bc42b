/** The labs as a command: those that are named, or all. */
import { LABS, runLab } from './machine.js';

const names = Object.keys(LABS) as (keyof typeof LABS)[];
const asked = process.argv.slice(2);
const unknown = asked.find((name) => !names.some((other) => other === name));
if (unknown !== undefined) {
  console.error(`There is no lab "${unknown}"; there is ${names.join(', ')}.`);
  process.exitCode = 2;
} else {
  for (const name of names.filter((other) => asked.length === 0 || asked.includes(other))) {
    console.log(`--- ${name}`);
    await runLab(name, console.log);
  }
}
