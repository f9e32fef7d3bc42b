/** The page with engine.wasm beside it. */
import { page } from './page.js';

postMessage(await page());
declare function postMessage(message: unknown): void;
