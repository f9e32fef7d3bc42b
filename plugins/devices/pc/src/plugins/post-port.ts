/** Port 0x80, whose codes go to the log. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { AddDeviceToken } from '@visorkit/machine';
import { POST_PORT, PostPort } from '../post-port.js';

export function postPort(): Plugin {
  return definePlugin({
    name: 'post',
    uses: { addDevice: AddDeviceToken },
    apply(host, { addDevice }) {
      const post = host.make(PostPort);
      post.onCode = (code) => host.logger.debug(`POST code 0x${code.toString(16).padStart(2, '0')}`);
      addDevice(post, { ports: [[POST_PORT, 1]] });
    },
  });
}
