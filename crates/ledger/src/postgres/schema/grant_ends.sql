-- Whatever ends a grant ends its tokens: a spend looks at the token's row alone, which it holds by then.
CREATE FUNCTION lar.grant_ends() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM lar.tokens t WHERE t.grant_n = NEW.n ORDER BY t.name FOR NO KEY UPDATE;
    UPDATE lar.tokens t SET grant_expires = NEW.expires,
        epoch = CASE WHEN NEW.revoked_at IS NULL THEN NEW.epoch ELSE 0 END
    WHERE t.grant_n = NEW.n;
    RETURN NULL;
END $$;
CREATE TRIGGER grant_ends AFTER UPDATE ON lar.grants
    FOR EACH ROW EXECUTE FUNCTION lar.grant_ends();
