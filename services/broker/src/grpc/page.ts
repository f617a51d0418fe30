// Pages of lists that are ordered by name. A page token is the last name of the page before.

import { inRange } from './bounds.ts';

const PAGE_SIZE_DEFAULT = 100;
const PAGE_SIZE_MAX = 1000;

/** One page. Throws INVALID_ARGUMENT when the size is out of bounds. */
export function page<Item extends { readonly name: string }>(
  all: readonly Item[],
  pageSize: number,
  pageToken: string,
): { items: Item[]; nextPageToken: string } {
  const size = inRange('page_size', pageSize, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX);
  const rest = all
    .filter(({ name }) => name > pageToken)
    .sort((one, other) => (one.name < other.name ? -1 : 1));
  const items = rest.slice(0, size);
  return { items, nextPageToken: rest.length > size ? (items.at(-1)?.name ?? '') : '' };
}
