/** Port 0x80, whose codes go to the log. */
import { DeviceListToken, PortBusToken } from '@visorkit/machine';
import type { Plugin, PluginHost } from '@visorkit/core';
import { POST_PORT, PostPort } from '../post-port.js';
import { addPortDevice } from './device-host.js';

export class PostPlugin implements Plugin {
  readonly name = 'post';
  readonly requires = { services: [PortBusToken, DeviceListToken] };

  apply(host: PluginHost): void {
    const post = new PostPort();
    post.onCode = (code) => host.logger.debug(`POST code 0x${code.toString(16).padStart(2, '0')}`);
    addPortDevice(host, this.name, post, [[POST_PORT, 1]]);
  }
}
