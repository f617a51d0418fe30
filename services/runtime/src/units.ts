// Sizes and spans of time as people write them.

const BYTES: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

const MILLISECONDS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

function parse(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([a-zA-Z]+)$/.exec(text);
  const scale = match === null ? undefined : units[match[2] ?? ''];
  if (match === null || scale === undefined) return undefined;
  const value = Number(match[1]) * scale;
  return Number.isSafeInteger(value) ? value : undefined;
}

/** Reads a size: `4096`, `64KiB`, `1.5GiB`, `10MB`; undefined when the text is none. */
export function parseBytes(text: string): number | undefined {
  return /^\d{1,15}$/.test(text) ? Number(text) : parse(text, BYTES);
}

/** Reads a span of time into milliseconds: `0`, `200ms`, `15s`, `1.5h`, `7d`; undefined when it is none. */
export function parseDuration(text: string): number | undefined {
  return text === '0' ? 0 : parse(text, MILLISECONDS);
}

/** The shortest way to write a size in whole binary units. */
export function formatBytes(bytes: number): string {
  for (const unit of ['TiB', 'GiB', 'MiB', 'KiB']) {
    const scale = BYTES[unit] ?? 1;
    if (bytes > 0 && bytes % scale === 0) return `${bytes / scale}${unit}`;
  }
  return `${bytes}`;
}

/** The shortest way to write a span of milliseconds in whole units. */
export function formatDuration(ms: number): string {
  for (const unit of ['d', 'h', 'm', 's']) {
    const scale = MILLISECONDS[unit] ?? 1;
    if (ms > 0 && ms % scale === 0) return `${ms / scale}${unit}`;
  }
  return ms === 0 ? '0' : `${ms}ms`;
}
