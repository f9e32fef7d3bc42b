/** Runs the command line; loaded by visorkit.js when the Node is new enough for it. */
const { leave, main } = require('./command.cjs');

main(process.argv).then(leave);
