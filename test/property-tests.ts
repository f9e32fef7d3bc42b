/**
 * How often property tests try, and with which random numbers: the same ones each time, so that a commit passes or fails
 * wherever it is tested. VISORKIT_SEED (a number, or "random") and VISORKIT_RUNS look for more; a failure names its seed.
 */
import fc from 'fast-check';

const { VISORKIT_SEED: seed = '1', VISORKIT_RUNS: runs } = process.env;
fc.configureGlobal({
  ...(seed === 'random' ? {} : { seed: Number(seed) }),
  ...(runs === undefined ? {} : { numRuns: Number(runs) }),
});
