-- Crawls: addresses that are fetched again and again

-- name: add
insert into retrieval_crawls (tenant_id, crawl_id, collection, url, is_sitemap, every_s, key_id, principals)
values (%(tenant_id)s, %(crawl_id)s, %(collection)s, %(url)s, %(is_sitemap)s, %(every_s)s, %(key_id)s, %(principals)s)
on conflict do nothing
returning crawl_id;

-- name: notify
select pg_notify('backstay_retrieval', '');

-- name: list
select crawl_id as id, url, is_sitemap, every_s, principals, created_at, due_at, last_ingest, problem
from retrieval_crawls
where tenant_id = %(tenant_id)s and collection = %(collection)s
order by created_at, crawl_id;

-- name: remove
delete from retrieval_crawls
where tenant_id = %(tenant_id)s and collection = %(collection)s and crawl_id = %(crawl_id)s
returning crawl_id;

-- name: claim
-- Whoever takes it has it until it is due again: one who is killed leaves it out once, as what comes then is the same.
with next as (
  select tenant_id, crawl_id from retrieval_crawls
  where due_at <= now() order by due_at limit 1 for update skip locked
)
update retrieval_crawls c set due_at = now() + make_interval(secs => least(every_s, %(again_s)s))
from next where c.tenant_id = next.tenant_id and c.crawl_id = next.crawl_id
returning c.tenant_id, c.crawl_id, c.collection, c.url, c.is_sitemap, c.every_s, c.key_id, c.principals;

-- name: end
update retrieval_crawls
set due_at = now() + make_interval(secs => every_s), problem = %(problem)s,
  last_ingest = coalesce(%(ingest_id)s, last_ingest)
where tenant_id = %(tenant_id)s and crawl_id = %(crawl_id)s;

-- name: left
-- Documents that a crawl brought and does not bring any more.
select external_id from retrieval_documents
where tenant_id = %(tenant_id)s and collection = %(collection)s and metadata ->> 'crawl' = %(crawl_id)s
  and not external_id = any(%(urls)s);
