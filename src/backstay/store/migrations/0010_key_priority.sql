-- The priority of a key's calls that name none. An older worker's keys are interactive, as all calls were by default.
alter table keys add column priority text not null default 'interactive' check (priority in ('interactive', 'batch'));
