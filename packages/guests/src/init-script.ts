/**
 * What runs as the first process of the guest. One initramfs serves every purpose: the kernel hands parameters it does
 * not know, `name=value` without a dot, to init as environment variables, and `visorkit_mode` says what to do.
 */

/** What the guest does after its start. */
export type GuestMode =
  /** An interactive shell on the console. */
  | 'shell'
  /** `uname -a`, `ps`, a checksum and arithmetic, then power-off. */
  | 'check'
  /** Checks of many programs with known answers, then power-off. */
  | 'programs'
  /** Power-off at once: measures the boot alone. */
  | 'off';

export interface GuestParameters {
  readonly mode: GuestMode;
  /** Size of the terminal, for the shell. */
  readonly rows?: number;
  readonly columns?: number;
}

/** The part of the kernel's command line that tells the init script what to do: "visorkit_mode=shell …". */
export function guestParameters({ mode, rows, columns }: GuestParameters): string {
  const size =
    rows !== undefined && columns !== undefined
      ? ` visorkit_rows=${Math.trunc(rows)} visorkit_columns=${Math.trunc(columns)}`
      : '';
  return `visorkit_mode=${mode}${size}`;
}

/** Line that the init script prints when the guest is up and user programs run. */
export const GUEST_READY = 'visorkit guest ready';

/**
 * The init script, for busybox's shell. Messages of the kernel below "emergency" are kept from the console once it runs,
 * so that they don't fall into the lines of programs.
 *
 * The shell is run by busybox's init: what a script runs in the background has Ctrl-C ignored, and what it runs in the
 * foreground keeps process 1 from answering the signals by which poweroff and reboot ask it.
 */
export function initScript(): string {
  return `#!/bin/sh
export PATH=/sbin:/usr/sbin:/bin:/usr/bin HOME=/root TERM="\${TERM:-vt100}"
[ "$TERM" = linux ] && TERM=vt100
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts && mount -t devpts devpts /dev/pts 2>/dev/null
mount -t tmpfs tmpfs /tmp
hostname visorkit
dmesg -n 1
echo '${GUEST_READY}'
case "$visorkit_mode" in
  check) sh /etc/visorkit/check ;;
  programs) sh /etc/visorkit/programs ;;
  off) ;;
  *)
    exec init
    ;;
esac
sync
poweroff -f
`;
}

/** `/etc/inittab` of shell mode: one session on the console. */
export const INITTAB = '::once:/etc/visorkit/session\n::ctrlaltdel:/sbin/reboot -f\n';

/**
 * The session: a login shell with the console's terminal as its controlling one (setsid, cttyhack), so that job control
 * and Ctrl-C work. Its end is the machine's.
 */
export function sessionScript(): string {
  return `#!/bin/sh
[ -n "$visorkit_rows" ] && stty rows "$visorkit_rows" cols "$visorkit_columns" </dev/console
cat /etc/motd
cd /root
setsid cttyhack sh -l
sync
poweroff -f
`;
}

/** `/etc/profile`, read by the login shell. With -f, power-off does not first wait for processes to end. */
export function profileScript(): string {
  return `export PATH=/sbin:/usr/sbin:/bin:/usr/bin HOME=/root
export PS1='\\w \\$ '
[ -n "$visorkit_rows" ] && export LINES="$visorkit_rows" COLUMNS="$visorkit_columns"
alias poweroff='poweroff -f' halt='poweroff -f' reboot='reboot -f'
`;
}

/** What the shell greets with. */
export const GREETING = `
This is a Linux guest in visorkit. "poweroff" or "exit" switches it off; Ctrl-a x leaves at once.

`;
