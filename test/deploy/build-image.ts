// Builds the image once for all files of this suite.

import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { TempDir } from '../support/temp-dir.ts';
import { buildImage, type Image } from './image.ts';

declare module 'vitest' {
  interface ProvidedContext {
    image: Image;
  }
}

let folder: TempDir | undefined;

export async function setup(project: TestProject): Promise<void> {
  folder = await TempDir.create('image');
  project.provide('image', await buildImage(join(folder.path, 'image')));
}

export async function teardown(): Promise<void> {
  await folder?.[Symbol.asyncDispose]();
}
