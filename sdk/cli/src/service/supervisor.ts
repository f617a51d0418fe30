// Tells systemd that the service is ready: `READY=1` to the socket that it named. That is a datagram socket, which
// Node has none of, so `systemd-notify` sends it, which is there wherever systemd is.

import { execFile } from 'node:child_process';

const NOTIFY_MS_MAX = 10_000;

/**
 * Tells systemd that clients can use the service, when it waits for that (`Type=notify`); else does nothing.
 *
 * @throws when it waits and cannot be told
 */
export async function tellReady(env: NodeJS.ProcessEnv): Promise<void> {
  if (env.NOTIFY_SOCKET === undefined) return;
  await new Promise<void>((resolve, reject) => {
    execFile('systemd-notify', ['--ready'], { env, timeout: NOTIFY_MS_MAX }, (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}
