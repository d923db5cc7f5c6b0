-- Addresses that are fetched again and again: pages, or sitemaps, whose pages are. What they bring has the crawl in its
-- metadata, so that what is on a sitemap no more goes.
create table retrieval_crawls (
  tenant_id   text not null,
  crawl_id    text not null,
  collection  text not null,
  url         text not null,
  is_sitemap  boolean not null,
  every_s     int not null check (every_s >= 60),
  key_id      text not null,
  principals  text[],
  created_at  timestamptz not null default now(),
  due_at      timestamptz not null default now(),
  last_ingest text,
  problem     text,
  primary key (tenant_id, crawl_id),
  unique (tenant_id, collection, url),
  foreign key (tenant_id, collection) references retrieval_collections on delete cascade
);
create index retrieval_crawls_due on retrieval_crawls (due_at);

alter table retrieval_crawls enable row level security;
alter table retrieval_crawls force row level security;
create policy one_tenant on retrieval_crawls to backstay_app using (tenant_id = backstay_tenant())
  with check (tenant_id = backstay_tenant());
create policy all_tenants on retrieval_crawls to backstay_system using (true) with check (true);
grant select, insert, update, delete on retrieval_crawls to backstay_app, backstay_system;
