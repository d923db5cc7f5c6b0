-- How well collections are searched: what each search and answer came to, and what labelled sets measured.

-- Kept for 60 days. The direction is the query's vector as float16, for the drift of what is asked; it and the text are
-- kept where messages are kept.
create table retrieval_asks (
  tenant_id  text not null,
  ask_id     bigint generated always as identity,
  collection text not null,
  asked_at   timestamptz not null default now(),
  generation bigint not null,
  results    int not null,
  -- Of the best result; null: nothing was found, or not by both kinds of evidence.
  relevance  real,
  -- Null: a search, which answers nothing.
  abstained  boolean,
  direction  bytea,
  query      text,
  primary key (tenant_id, ask_id),
  foreign key (tenant_id, collection) references retrieval_collections on delete cascade
);
create index retrieval_asks_by_time on retrieval_asks (tenant_id, collection, asked_at);

create table retrieval_evaluations (
  tenant_id     text not null,
  collection    text not null,
  evaluation_id text not null,
  made_at       timestamptz not null default now(),
  label         text not null,
  mode          text not null,
  ranking       jsonb not null,
  generation    bigint not null,
  queries       int not null,
  -- By name: mean, low, high.
  measures      jsonb not null,
  primary key (tenant_id, collection, evaluation_id),
  foreign key (tenant_id, collection) references retrieval_collections on delete cascade
);

do $$
declare each text;
begin
  foreach each in array array['retrieval_asks', 'retrieval_evaluations'] loop
    execute format('alter table %I enable row level security', each);
    execute format('alter table %I force row level security', each);
    execute format('create policy one_tenant on %I to backstay_app using (tenant_id = backstay_tenant())
      with check (tenant_id = backstay_tenant())', each);
    execute format('create policy all_tenants on %I to backstay_system using (true) with check (true)', each);
    execute format('grant select, insert, update, delete on %I to backstay_app, backstay_system', each);
  end loop;
end $$;
