-- Who may what. Nobody but the owner may do anything until the owner says so.

REVOKE ALL ON ALL TABLES IN SCHEMA lar FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA lar FROM PUBLIC;

-- Lets a role run with this ledger: it may read, and call the transitions. It may not issue or revoke
-- grants, begin an epoch, or change or delete anything by itself. To be called by the owner.
CREATE FUNCTION lar.admit(role name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA lar TO %I', role);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA lar TO %I', role);
    EXECUTE format(
        'GRANT EXECUTE ON FUNCTION lar.commit, lar.commit_one, lar.commit_some, lar.barrier, lar.open_run, lar.take_run,
             lar.close_run, lar.renew_run, lar.lead, lar.resign, lar.integrate, lar.witness, lar.stamp, lar.decide TO %I',
        role);
    INSERT INTO lar.admitted VALUES (role) ON CONFLICT DO NOTHING;
END $$;
REVOKE ALL ON FUNCTION lar.admit FROM PUBLIC;

-- Lets a role read and no more.
CREATE FUNCTION lar.admit_reader(role name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA lar TO %I', role);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA lar TO %I', role);
    EXECUTE format('REVOKE SELECT ON lar.journal FROM %I', role);
END $$;
REVOKE ALL ON FUNCTION lar.admit_reader FROM PUBLIC;

-- Lets a role read, and put signed decisions beside attempts that wait for them: for those who approve
-- and don't run.
CREATE FUNCTION lar.admit_approver(role name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM lar.admit_reader(role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION lar.decide TO %I', role);
    INSERT INTO lar.approving VALUES (role) ON CONFLICT DO NOTHING;
END $$;
REVOKE ALL ON FUNCTION lar.admit_approver FROM PUBLIC;
