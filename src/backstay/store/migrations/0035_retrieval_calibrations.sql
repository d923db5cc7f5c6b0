-- What labelled questions showed of a collection's generation: from which score on results are relevant, and from which
-- evidence on the documents hold an answer. Scores of another generation are others, so that this goes with it.
create table retrieval_calibrations (
  tenant_id     text not null,
  generation    bigint not null,
  -- The curve of the log odds by score, or null: no result was judged.
  relevance     jsonb,
  -- Of each question the evidence found for it and whether an answer would be wrong, or null: of none this was said.
  evidence      jsonb,
  questions     int not null,
  calibrated_at timestamptz not null default now(),
  primary key (tenant_id, generation),
  foreign key (tenant_id, generation) references retrieval_generations on delete cascade
);
alter table retrieval_calibrations enable row level security;
alter table retrieval_calibrations force row level security;
create policy one_tenant on retrieval_calibrations to backstay_app using (tenant_id = backstay_tenant())
  with check (tenant_id = backstay_tenant());
create policy all_tenants on retrieval_calibrations to backstay_system using (true) with check (true);
grant select, insert, update, delete on retrieval_calibrations to backstay_app, backstay_system;
