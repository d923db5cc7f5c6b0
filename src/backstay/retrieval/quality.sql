-- How well collections are searched: asks, and evaluations on labelled sets

-- name: note_asks
insert into retrieval_asks (tenant_id, collection, generation, results, relevance, abstained, direction, query)
select tenant_id, collection, generation, results, relevance, abstained, direction, query
from unnest(%(tenant_id)s::text[], %(collection)s::text[], %(generation)s::bigint[], %(results)s::int[],
  %(relevance)s::real[], %(abstained)s::boolean[], %(direction)s::bytea[], %(query)s::text[])
  as asked(tenant_id, collection, generation, results, relevance, abstained, direction, query)
where exists (select from retrieval_collections c
              where c.tenant_id = asked.tenant_id and c.collection = asked.collection);

-- name: forget_asks
delete from retrieval_asks where asked_at < now() - interval '60 days';

-- name: asks
-- Those of a window, the newest first, of the same generation: another one has other scores and other vectors.
select asked_at, relevance, abstained, direction, query from retrieval_asks
where tenant_id = %(tenant_id)s and collection = %(collection)s and generation = %(generation)s
  and asked_at >= %(since)s and asked_at < %(until)s
order by asked_at desc limit %(limit)s;

-- name: asked_collections
select distinct tenant_id, collection from retrieval_asks where asked_at > %(since)s;

-- name: keep_evaluation
insert into retrieval_evaluations
  (tenant_id, collection, evaluation_id, label, mode, ranking, generation, queries, measures)
values (%(tenant_id)s, %(collection)s, %(evaluation_id)s, %(label)s, %(mode)s, %(ranking)s, %(generation)s,
  %(queries)s, %(measures)s);

-- name: evaluations
select evaluation_id as id, made_at, label, mode, ranking, generation, queries, measures from retrieval_evaluations
where tenant_id = %(tenant_id)s and collection = %(collection)s order by made_at desc, evaluation_id limit %(limit)s;
