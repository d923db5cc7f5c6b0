-- What ranking asks of the documents and chunks that a search has found, as those may who ask

-- name: read_for
select set_config('backstay.principals', %(principals)s, true);

-- name: facts
-- The two fields of metadata, as text; when the document was changed; the chunk's vector, where it is wanted.
select k.chunk_id::text as chunk_id, d.metadata ->> %(dated)s::text as dated, d.metadata ->> %(numbered)s::text as numbered,
  d.updated_at, case when %(with_vectors)s then k.embedding::real[] end as vector
from retrieval_chunks k join retrieval_documents d using (tenant_id, document_id)
where k.tenant_id = %(tenant_id)s and k.chunk_id = any(%(chunk_ids)s);
