/** The page with engine.wasm in itself. */
import processor from '@visorkit/engine/engine.wasm';
import { page } from './page.js';

postMessage(await page(processor));
declare function postMessage(message: unknown): void;
