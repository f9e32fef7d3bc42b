/** Files that are there whole or not at all. */
import type { FileHandle } from 'node:fs/promises';

/** Writes under a temporary name, and renames when all is on the disk. Throws what the writing throws, and leaves nothing then. */
export async function writeWhole(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const { open, rename, rm } = await import('node:fs/promises'); // reading alone does not need it
  const temporary = `${path}.${process.pid}.partial`;
  try {
    const file = await open(temporary, 'w');
    try {
      await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
