-- What use showed of a model's questions calibrates the cache of the tenant whose use it was, and nobody else's.
create index cache_pairs_labelled on cache_pairs (model, tenant_id, created_at desc) where same is not null;
drop index cache_pairs_model;

-- Of a batch: how long its result files stay (null: until they are deleted), and, once it has ended, which model its
-- lines named (null: several, or none) and what tokens they used (null: an answer does not say).
alter table batches add column output_expires_after_s int, add column model text, add column usage jsonb;
