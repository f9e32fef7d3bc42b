/** An error of a device, with the device's name. */
import { VisorkitError } from '@visorkit/core';

/** Names the device that threw: the report of a stopped VM shows it beside the plugin that handled the exit. */
export function deviceFailure(device: string | undefined, access: string, error: unknown): VisorkitError {
  const message = error instanceof Error ? error.message : String(error);
  return new VisorkitError(
    'DEVICE_FAILED',
    `device ${device ?? '(nobody)'} failed at a ${access}: ${message}`,
    { device },
    error,
  );
}
