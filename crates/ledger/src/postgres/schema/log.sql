-- The log over all records. Spends write nothing here: one process at a time, which holds a lease,
-- puts what was committed into the tree and signs the new head (`lar.integrate`). Two that both
-- believe to hold it can't fork the log: an integration names the term of its lease and the size it
-- starts from, and is refused when either has changed.

-- Takes the lease, or keeps it. Null when somebody else has it; `force` takes it away.
CREATE FUNCTION lar.lead(me bytea, force boolean, lease_ms bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    now bigint := lar.tick();
    taken bigint;
BEGIN
    UPDATE lar.log w SET
        term = CASE WHEN w.leader = me THEN w.term ELSE w.term + 1 END,
        leader = me, lease_until = now + least(lease_ms, 60000)
    WHERE force OR w.leader = me OR w.lease_until < now
    RETURNING w.term INTO taken;
    RETURN taken;
END $$;

-- Gives the lease back.
CREATE FUNCTION lar.resign(me bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE lar.log w SET lease_until = 0 WHERE w.leader = me
$$;

-- Puts into the log, run after run, what it doesn't hold of each up to a number (run 0 are the ledger's
-- own records), then the one of them that begins an epoch of the key, if that is asked; and publishes the
-- head over it.
CREATE FUNCTION lar.integrate(
    me bytea, term bigint, old_size bigint, runs bigint[], ups bigint[], own bytea,
    new_size bigint, levels integer[], places bigint[], hashes bytea[], root bytea,
    checkpoint text, epoch bigint, key text, certificate text
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    l lar.log;
    u record;
    done bigint;
    size bigint := old_size;
BEGIN
    SELECT * INTO l FROM lar.log w FOR NO KEY UPDATE;
    IF l.leader IS DISTINCT FROM me OR l.term <> term OR l.size <> old_size
        OR epoch <> l.epoch + (own IS NOT NULL)::integer
    THEN
        PERFORM lar.stale();
    END IF;
    INSERT INTO lar.epochs VALUES (epoch, key, certificate) ON CONFLICT DO NOTHING;
    PERFORM FROM lar.epochs w WHERE w.number = epoch AND w.key = key;
    IF NOT FOUND THEN
        PERFORM lar.stale();
    END IF;
    FOR u IN SELECT * FROM unnest(runs, ups) WITH ORDINALITY AS u (run, up, place) ORDER BY place
    LOOP
        done := lar.logged(u.run);
        IF u.run = 0 THEN
            PERFORM FROM lar.own w WHERE w.records >= u.up AND u.up > done;
        ELSE
            PERFORM FROM lar.runs w WHERE w.n = u.run AND w.records >= u.up AND u.up > done;
        END IF;
        IF NOT FOUND THEN
            PERFORM lar.stale();
        END IF;
        INSERT INTO lar.segments VALUES (size, u.run, done + 1, u.up - done);
        size := size + u.up - done;
        DELETE FROM lar.ended w WHERE w.run = u.run AND w.records <= u.up;
    END LOOP;
    IF own IS NOT NULL THEN
        done := lar.logged(0);
        -- It follows the last of the ledger's own, and all of those are in the log now.
        UPDATE lar.own w SET records = done + 1, head = sha256('\x00'::bytea || own)
        WHERE w.records = done;
        IF NOT FOUND THEN
            PERFORM lar.stale();
        END IF;
        INSERT INTO lar.records VALUES (0, done + 1, sha256('\x00'::bytea || own), own, '');
        INSERT INTO lar.segments VALUES (size, 0, done + 1, 1);
        size := size + 1;
    END IF;
    -- The caller has counted the same records, or it has signed something else.
    IF size = old_size OR size <> new_size THEN
        PERFORM lar.stale();
    END IF;
    INSERT INTO lar.subtrees SELECT * FROM unnest(levels, places, hashes);
    UPDATE lar.log w SET size = new_size, root = root, checkpoint = checkpoint, epoch = epoch;
END $$;

-- How many of a run's records are in the log.
CREATE FUNCTION lar.logged(run bigint) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT w.seq + w.count - 1 FROM lar.segments w WHERE w.run = logged.run
         ORDER BY w.seq DESC LIMIT 1), 0)
$$;

-- Keeps a cosigned checkpoint, unless a newer one is kept.
CREATE FUNCTION lar.witness(size bigint, checkpoint text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO lar.witnessed AS w (size, checkpoint)
    SELECT witness.size, witness.checkpoint FROM lar.log l WHERE witness.size <= l.size
    ON CONFLICT ON CONSTRAINT witnessed_pkey DO UPDATE
        SET size = excluded.size, checkpoint = excluded.checkpoint
        WHERE w.size < excluded.size
            OR w.size = excluded.size AND length(w.checkpoint) < length(excluded.checkpoint)
$$;

-- Keeps a time-stamped checkpoint, unless a newer one is kept.
CREATE FUNCTION lar.stamp(size bigint, checkpoint text, answer bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO lar.stamped AS w (size, checkpoint, answer)
    SELECT stamp.size, stamp.checkpoint, stamp.answer FROM lar.log l WHERE stamp.size <= l.size
    ON CONFLICT ON CONSTRAINT stamped_pkey DO UPDATE
        SET size = excluded.size, checkpoint = excluded.checkpoint, answer = excluded.answer
        WHERE w.size <= excluded.size
$$;
