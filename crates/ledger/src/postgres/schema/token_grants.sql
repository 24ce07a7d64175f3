-- What a grant says stands in its tokens too.

ALTER TABLE lar.tokens ADD COLUMN epoch bigint, ADD COLUMN grant_expires bigint;
UPDATE lar.tokens t SET epoch = CASE WHEN g.revoked_at IS NULL THEN g.epoch ELSE 0 END,
    grant_expires = g.expires
FROM lar.grants g WHERE g.n = t.grant_n;
ALTER TABLE lar.tokens ALTER COLUMN epoch SET NOT NULL;
ALTER TABLE lar.tokens DROP CONSTRAINT IF EXISTS tokens_granted_check;
ALTER TABLE lar.tokens DROP CONSTRAINT IF EXISTS tokens_check;
ALTER TABLE lar.tokens ADD CONSTRAINT uses CHECK (uses_left BETWEEN 0 AND granted);
