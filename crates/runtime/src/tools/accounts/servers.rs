//! Where a program connects to that takes its server from the environment.

use std::str::FromStr;

use lar_core::scope::Endpoint;

use super::Operator;

/// The server of a program, as the operator's variables say; none where they don't, or name a Unix
/// socket, which no confined program reaches.
pub(super) fn of(program: &str, operator: &Operator) -> Vec<Endpoint> {
    let by = |host: &[&str], port: &str, usual: &str| {
        let hosts = host.iter().find_map(|name| operator.var(name)).unwrap_or_default();
        let ports = operator.var(port).unwrap_or(usual);
        let mut ports = ports.split(',');
        let mut port = usual;
        // libpq takes several hosts, with a port for each or one for all.
        hosts
            .split(',')
            .filter_map(|host| {
                port = ports.next().unwrap_or(port);
                Endpoint::from_str(&format!("{}:{port}", bracketed(host))).ok()
            })
            .collect()
    };
    let url = |name: &str| {
        let text = operator.var(name).unwrap_or_default();
        let url = url::Url::parse(text.strip_prefix("jdbc:").unwrap_or(text)).ok();
        url.and_then(|url| endpoint(&url)).into_iter().collect()
    };
    match program {
        "psql" | "pg_dump" => by(&["PGHOSTADDR", "PGHOST"], "PGPORT", "5432"),
        "mysql" | "mysqldump" => by(&["MYSQL_HOST"], "MYSQL_TCP_PORT", "3306"),
        "flyway" => url("FLYWAY_URL"),
        "vault" => url("VAULT_ADDR"),
        "consul" => url("CONSUL_HTTP_ADDR"),
        "nomad" => url("NOMAD_ADDR"),
        _ => Vec::new(),
    }
}

/// The endpoint of a URL, with the usual port of its scheme.
pub(super) fn endpoint(url: &url::Url) -> Option<Endpoint> {
    let usual = match url.scheme() {
        "postgresql" | "postgres" => Some(5432),
        "mysql" | "mariadb" => Some(3306),
        "sqlserver" => Some(1433),
        _ => url.port_or_known_default(),
    };
    Endpoint::from_str(&format!("{}:{}", url.host_str()?, url.port().or(usual)?)).ok()
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::operator;
    use super::*;
    use std::path::Path;

    #[test]
    fn variables_lead_to_servers() {
        let of = |program: &str, env: &[(&str, &str)]| {
            let found = of(program, &operator(Path::new("/home/op"), env));
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of("psql", &[("PGHOST", "db.test")]), ["db.test:5432"]);
        let several = [("PGHOST", "a.test,::1"), ("PGPORT", "5433")];
        assert_eq!(of("psql", &several), ["a.test:5433", "[::1]:5433"]);
        let several = [("PGHOST", "a.test,b.test"), ("PGPORT", "1,2")];
        assert_eq!(of("psql", &several), ["a.test:1", "b.test:2"]);
        assert_eq!(of("psql", &[("PGHOST", "/run/postgresql")]), [""; 0]);
        assert_eq!(of("psql", &[]), [""; 0]);
        assert_eq!(of("flyway", &[("FLYWAY_URL", "jdbc:postgresql://d.test/x")]), ["d.test:5432"]);
        assert_eq!(of("vault", &[("VAULT_ADDR", "https://v.test:8200")]), ["v.test:8200"]);
    }
}
