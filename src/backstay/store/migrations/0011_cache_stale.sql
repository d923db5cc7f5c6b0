-- How long an expired answer stays for when no target answers. Null, as a worker before this writes it: no longer.
alter table cache_entries add column keep_until timestamptz;
drop index cache_entries_expiry;
create index cache_entries_end on cache_entries (greatest(keep_until, expires_at));
