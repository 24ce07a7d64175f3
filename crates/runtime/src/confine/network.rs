//! The addresses that a child finds in its own network, and what each of them leads to.
//!
//! A host that is named gets an address of the loopback net and a line in the child's hosts file; an
//! address stands for itself. Hosts below a domain can't be known before they are asked for, and are
//! reached through a proxy, for programs that honour `HTTPS_PROXY`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lar_core::scope::Endpoint;

/// Where the proxy listens.
const PROXY: u16 = 3128;

/// What the parent does with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// Passes it on to this endpoint.
    To(Endpoint),
    /// Reads from a CONNECT request where to.
    Proxy(Vec<Endpoint>),
}

/// A child's network.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) listen: Vec<SocketAddr>,
    /// Lines for the hosts file.
    pub(super) hosts: String,
    /// One for each address, in their order.
    pub(super) routes: Vec<Route>,
    pub(super) env: Vec<(OsString, OsString)>,
}

/// Plans the network of a child that may reach these endpoints.
pub(super) fn plan(endpoints: &[Endpoint]) -> Result<Plan, String> {
    let mut plan = Plan::default();
    let mut names: BTreeMap<&str, Ipv4Addr> = BTreeMap::new();
    for endpoint in endpoints.iter().filter(|endpoint| !endpoint.is_wildcard()) {
        let ip = match (endpoint.address(), endpoint.name()) {
            (Some(IpAddr::V4(ip)), _) if ip.is_unspecified() || ip.is_multicast() => {
                return Err(format!("`{endpoint}` is no address that can be connected to"));
            }
            (Some(IpAddr::V6(ip)), _) if ip.is_unspecified() || ip.is_multicast() => {
                return Err(format!("`{endpoint}` is no address that can be connected to"));
            }
            (Some(IpAddr::V6(ip)), _) if ip.is_unicast_link_local() => {
                return Err(format!(
                    "`{endpoint}` belongs to one link, which confinement has none of: name the host \
                     by another address"
                ));
            }
            (Some(ip), _) => ip,
            (None, Some("localhost")) => Ipv4Addr::LOCALHOST.into(),
            (None, Some(name)) => match names.get(name) {
                Some(ip) => (*ip).into(),
                None => {
                    let index = names.len() + 1;
                    let [high, low] = u16::try_from(index)
                        .map_err(|_| "too many hosts are named".to_owned())?
                        .to_be_bytes();
                    let ip = Ipv4Addr::new(127, 77, high, low);
                    names.insert(name, ip);
                    plan.hosts.push_str(&format!("{ip} {name}\n"));
                    ip.into()
                }
            },
            (None, None) => continue,
        };
        let address = SocketAddr::new(ip, endpoint.port());
        if !plan.listen.contains(&address) {
            plan.listen.push(address);
            plan.routes.push(Route::To(endpoint.clone()));
        }
    }
    if endpoints.iter().any(Endpoint::is_wildcard) {
        let taken = |port: &u16| plan.listen.iter().any(|held| held.port() == *port);
        let port = (PROXY..).find(|port| !taken(port)).unwrap_or(PROXY);
        plan.listen.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
        plan.routes.push(Route::Proxy(endpoints.to_vec()));
        let proxy = format!("http://127.0.0.1:{port}");
        for name in ["HTTPS_PROXY", "https_proxy"] {
            plan.env.push((name.into(), proxy.clone().into()));
        }
        let mut direct: Vec<&str> = vec!["localhost", "127.0.0.1", "::1"];
        direct.extend(names.keys());
        for name in ["NO_PROXY", "no_proxy"] {
            plan.env.push((name.into(), direct.join(",").into()));
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Result<Plan, String> {
        let endpoints: Vec<Endpoint> = texts.iter().map(|text| text.parse().unwrap()).collect();
        plan(&endpoints)
    }

    #[test]
    fn names_get_addresses_of_their_own_and_addresses_stand_for_themselves() {
        let plan = of(&["api.test:6443", "api.test:80", "db.test:5432", "10.1.2.3:22"]).unwrap();
        let addresses: Vec<String> = plan.listen.iter().map(ToString::to_string).collect();
        assert_eq!(
            addresses,
            ["127.77.0.1:6443", "127.77.0.1:80", "127.77.0.2:5432", "10.1.2.3:22"]
        );
        assert_eq!(plan.hosts, "127.77.0.1 api.test\n127.77.0.2 db.test\n");
        assert_eq!(plan.routes.len(), 4);
        assert!(plan.env.is_empty(), "no proxy where every host is known");
    }

    #[test]
    fn a_wildcard_needs_the_proxy() {
        let plan = of(&["*.aws.test:443", "localhost:3128"]).unwrap();
        assert_eq!(plan.listen[1], "127.0.0.1:3129".parse().unwrap());
        assert!(matches!(&plan.routes[1], Route::Proxy(held) if held.len() == 2));
        assert!(
            plan.env
                .iter()
                .any(|(name, value)| { name == "HTTPS_PROXY" && value == "http://127.0.0.1:3129" })
        );
    }

    #[test]
    fn what_can_not_be_reached_is_said() {
        for text in ["0.0.0.0:80", "224.0.0.1:80", "[::]:443", "[ff02::1]:443", "[fe80::1]:443"] {
            assert!(of(&[text]).is_err(), "{text}");
        }
        assert!(of(&["[::1]:443", "[2001:db8::1]:443"]).is_ok());
        assert!(of(&[]).unwrap().listen.is_empty());
    }
}
