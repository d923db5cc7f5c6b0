-- Chunks that were cut in other ways than by length: what an answer reads in a chunk's place, the head of the table that
-- it begins within, and what models said when it was cut, so that they are not asked again for what did not change.

alter table retrieval_chunks
  add column parent_starts_at int,
  add column parent_ends_at int,
  add column head_starts_at int,
  add column head_ends_at int,
  -- By the hash of what was asked. A sentence is part of what is indexed, and never shown.
  add column memo jsonb;
