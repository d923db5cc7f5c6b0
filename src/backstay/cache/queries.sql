-- name: find
-- At most one row: the answer that is kept, and has not expired.
select dialect, body, usage, target, trace_id, cost_nanousd, created_at, expires_at, keep_until
from cache_entries
where tenant_id = %(tenant_id)s and key = %(key)s and expires_at > now();

-- name: find_stale
-- At most one row: the answer that is kept, expired or not.
select dialect, body, usage, target, trace_id, cost_nanousd, created_at, expires_at, keep_until
from cache_entries
where tenant_id = %(tenant_id)s and key = %(key)s and greatest(keep_until, expires_at) > now();

-- name: claim
-- One row where the question is now ours to ask. A claim that ran out is anybody's. To lose one in a crash is right.
insert into cache_claims as mine (tenant_id, key, holder, expires_at)
values (%(tenant_id)s, %(key)s, %(holder)s, now() + make_interval(secs => %(for_s)s))
on conflict (tenant_id, key) do update set holder = excluded.holder, expires_at = excluded.expires_at
where mine.expires_at < now()
returning holder;

-- name: replaced
-- Which answers to the same questions have not expired: workers may still have them at hand.
select tenant_id, key from cache_entries
where (tenant_id, key) in (select * from unnest(%(tenant_id)s::text[], %(key)s::bytea[])) and expires_at > now();

-- name: keep
insert into cache_entries (tenant_id, key, model, feature, dialect, body, usage, target, trace_id, cost_nanousd,
                           created_at, expires_at, keep_until)
select * from unnest(%(tenant_id)s::text[], %(key)s::bytea[], %(model)s::text[], %(feature)s::text[],
                     %(dialect)s::text[], %(body)s::bytea[], %(usage)s::jsonb[], %(target)s::text[],
                     %(trace_id)s::text[], %(cost_nanousd)s::bigint[], %(created_at)s::timestamptz[],
                     %(expires_at)s::timestamptz[], %(keep_until)s::timestamptz[])
on conflict (tenant_id, key) do update set
  model = excluded.model, feature = excluded.feature, dialect = excluded.dialect, body = excluded.body,
  usage = excluded.usage, target = excluded.target, trace_id = excluded.trace_id,
  cost_nanousd = excluded.cost_nanousd, created_at = excluded.created_at, expires_at = excluded.expires_at,
  keep_until = excluded.keep_until
where cache_entries.created_at <= excluded.created_at;

-- name: release
-- Give up claims, and tell every worker, ours among them, that the questions are answered or free again.
with gone as (
  delete from cache_claims
  using unnest(%(tenant_id)s::text[], %(key)s::bytea[]) as mine (tenant_id, key)
  where cache_claims.tenant_id = mine.tenant_id and cache_claims.key = mine.key and holder = %(holder)s
  returning cache_claims.key
)
select pg_notify('backstay_cache', encode(key, 'hex')) from gone;

-- name: count_days
insert into cache_days as known (tenant_id, day, model, feature, hits, semantic_hits, misses, saved_nanousd)
select * from unnest(%(tenant_id)s::text[], %(day)s::date[], %(model)s::text[], %(feature)s::text[],
                     %(hits)s::bigint[], %(semantic_hits)s::bigint[], %(misses)s::bigint[], %(saved_nanousd)s::bigint[])
on conflict (tenant_id, day, model, feature) do update set
  hits = known.hits + excluded.hits, semantic_hits = known.semantic_hits + excluded.semantic_hits,
  misses = known.misses + excluded.misses, saved_nanousd = known.saved_nanousd + excluded.saved_nanousd;

-- name: sweep_lock
select pg_try_advisory_xact_lock(hashtext('backstay.cache.sweep')) as ours;

-- name: sweep_expired
delete from cache_entries where (tenant_id, key) in (
  select tenant_id, key from cache_entries where greatest(keep_until, expires_at) <= now() limit 10000
);

-- name: sweep_claims
delete from cache_claims where expires_at <= now();

-- name: sweep_excess
-- Of each tenant and model, the oldest answers go until the rest fits.
delete from cache_entries where (tenant_id, key) in (
  select tenant_id, key
  from (
    select tenant_id, key, model,
           sum(length(body) + 1024) over (partition by tenant_id, model order by created_at desc, key) as bytes
    from cache_entries
  ) as counted
  join unnest(%(model)s::text[], %(max_bytes)s::bigint[]) as bounds (model, max_bytes) using (model)
  where bytes > max_bytes
);

-- name: purge
delete from cache_entries
where tenant_id = %(tenant_id)s
  and (%(model)s::text is null or model = %(model)s)
  and (%(feature)s::text is null or feature = %(feature)s)
  and (%(trace_id)s::text is null or trace_id = %(trace_id)s)
  and (%(before)s::timestamptz is null or created_at < %(before)s)
  and (%(keys)s::bytea[] is null or key = any(%(keys)s));

-- name: tell
select pg_notify('backstay_cache', %(payload)s);

-- name: stats
-- What is kept now, and how often it helped since a day.
with kept as (
  select model, coalesce(feature, '') as feature, count(*) as entries, sum(length(body))::bigint as size_bytes,
         min(created_at) as oldest_at
  from cache_entries
  where tenant_id = %(tenant_id)s and expires_at > now()
  group by 1, 2
), helped as (
  select model, feature, sum(hits)::bigint as hits, sum(semantic_hits)::bigint as semantic_hits,
         sum(misses)::bigint as misses, sum(saved_nanousd)::bigint as saved_nanousd
  from cache_days
  where tenant_id = %(tenant_id)s and day >= %(since)s::date
  group by 1, 2
)
select model, nullif(feature, '') as feature, coalesce(entries, 0) as entries, coalesce(size_bytes, 0) as size_bytes,
       oldest_at, coalesce(hits, 0) as hits, coalesce(semantic_hits, 0) as semantic_hits,
       coalesce(misses, 0) as misses, coalesce(saved_nanousd, 0) as saved_nanousd
from kept full join helped using (model, feature)
where (%(model)s::text is null or model = %(model)s)
order by coalesce(saved_nanousd, 0) desc, model, feature;

-- name: add_pair
insert into cache_pairs (tenant_id, id, model, feature, kept, asked, same, source, similarity, trace_id)
values (%(tenant_id)s, %(id)s, %(model)s, %(feature)s, %(kept)s, %(asked)s, %(same)s, %(source)s, %(similarity)s,
        %(trace_id)s);

-- name: pairs
select id, model, feature, kept, asked, same, source, similarity, trace_id, created_at
from cache_pairs
where tenant_id = %(tenant_id)s and (%(model)s::text is null or model = %(model)s)
order by created_at desc, id desc
limit %(limit)s;

-- name: labelled_pairs
-- What is known of a model's questions: of each tenant, the newest.
select distinct tenant_id, kept as a, asked as b, same
from (
  select tenant_id, kept, asked, same,
         row_number() over (partition by tenant_id order by created_at desc) as place
  from cache_pairs
  where model = %(model)s and same is not null
) as counted
where place <= %(limit)s
order by tenant_id, a, b, same;

-- name: sweep_pairs
-- Of each tenant and model, the newest stay.
delete from cache_pairs where (tenant_id, id) in (
  select tenant_id, id
  from (
    select tenant_id, id, row_number() over (partition by tenant_id, model order by created_at desc, id) as place
    from cache_pairs
  ) as counted
  where place > %(most)s
);

-- name: ensure_semantic
select ensure_semantic_cache() as is_there;

-- name: look_far
-- The index looks on until enough rows meet the conditions, and not only among the nearest of all tenants.
select set_config('hnsw.iterative_scan', 'relaxed_order', true);

-- name: nearest
-- Kept questions of one conversation's state by their distance, as real[] for the verifier.
select cache_vectors.key, question, embedding::real[] as embedding
from cache_vectors join cache_entries using (tenant_id, key)
where tenant_id = %(tenant_id)s and context = %(context)s and expires_at > now()
order by embedding <=> %(vector)s::vector
limit %(limit)s;

-- name: alike
-- Keys of kept questions that are near a text, whatever the model and the conversation.
select key from cache_vectors
where tenant_id = %(tenant_id)s and embedding <=> %(vector)s::vector <= %(distance)s
order by embedding <=> %(vector)s::vector
limit %(limit)s;

-- name: keep_vectors
insert into cache_vectors (tenant_id, key, context, question, embedding)
select * from unnest(%(tenant_id)s::text[], %(key)s::bytea[], %(context)s::bytea[], %(question)s::text[],
                     %(embedding)s::vector[])
on conflict (tenant_id, key) do nothing;
