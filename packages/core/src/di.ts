/**
 * The decorators of the container, with the metadata polyfill they need. A class made by `services.make` carries
 * `@injectable()` and `@inject(token)` on every constructor parameter, so that nothing depends on emitted type metadata.
 */
import 'reflect-metadata';

export { inject, injectable } from 'tsyringe';
