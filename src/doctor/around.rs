//! Can the API be reached around the gateway? Then whoever does needs no token.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;

use super::probe::Asked;
use super::{Finding, Level, Patient};
use crate::config::{Listen, OriginAddress, UpstreamTls};

/// One origin.
pub(super) async fn look(asked: &Asked, patient: &Patient<'_>, findings: &mut Vec<Finding>) {
    let finding = match &asked.origin.address {
        OriginAddress::Unix(path) => socket(path),
        OriginAddress::Tcp(host, port) if is_loopback(host) => {
            on_this_machine(asked, *port, patient).await
        }
        OriginAddress::Tcp(..) => over_the_network(asked, patient).await,
    };
    findings.push(finding);
}

/// A unix socket is as open as its file.
fn socket(path: &std::path::Path) -> Finding {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(file) if file.permissions().mode() & 0o002 != 0 => {
            let found = format!("every user of this machine may connect to {shown}");
            Finding::new(Level::Fault, CHECK, found)
                .mend(format!("chmod o-rwx {shown}, and let the API make it so"))
        }
        Ok(_) => Finding::new(Level::Ok, CHECK, format!("{shown} is open to its owner and group")),
        Err(fault) => {
            Finding::new(Level::Note, CHECK, format!("{shown} cannot be looked at: {fault}"))
        }
    }
}

/// What listens on loopback should listen there alone.
async fn on_this_machine(asked: &Asked, port: u16, patient: &Patient<'_>) -> Finding {
    let addresses = addresses();
    for address in &addresses {
        let Some(there) = at(asked, *address, port) else { continue };
        if let Ok(seen) = there.get(patient.path, &[]).await {
            let found = format!(
                "the API answers on {} too ({}): whoever reaches that address needs no token",
                there.name, seen.status
            );
            return Finding::new(Level::Fault, CHECK, found).mend(
                "bind the API to 127.0.0.1 or to a unix socket, or close the port to others",
            );
        }
    }
    let tried: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    if tried.is_empty() {
        let found = format!("port {port}: this machine has no address but loopback to try");
        return Finding::new(Level::Note, CHECK, found);
    }
    let found = format!("port {port} of the API is closed on {}", tried.join(", "));
    Finding::new(Level::Ok, CHECK, found)
}

/// Whoever is where the gateway is can do what the gateway does, unless it has to show a certificate.
async fn over_the_network(asked: &Asked, patient: &Patient<'_>) -> Finding {
    let (roots, server_name) = (asked.tls.roots.clone(), asked.tls.server_name.clone());
    let mut nobody = asked.clone();
    nobody.tls = UpstreamTls::default(); // with no certificate of its own
    (nobody.tls.roots, nobody.tls.server_name) = (roots, server_name);
    match nobody.get(patient.path, &[]).await {
        Ok(_) => {
            let found = format!("{} answers whoever can reach it over the network", asked.name);
            Finding::new(Level::Warning, CHECK, found).mend(
                "let nobody but the gateway reach it: a firewall rule, a NetworkPolicy, or a client certificate \
                 (upstream.tls)",
            )
        }
        Err(_) if asked.get(patient.path, &[]).await.is_ok() => {
            let found = format!("{} answers nobody without a certificate", asked.name);
            Finding::new(Level::Ok, CHECK, found)
        }
        Err(_) => Finding::new(Level::Note, CHECK, format!("{} cannot be asked", asked.name)),
    }
}

/// The same API at another address of this machine.
fn at(asked: &Asked, address: IpAddr, port: u16) -> Option<Asked> {
    let mut there = asked.clone();
    let socket = SocketAddr::new(address, port);
    there.tls.server_name = asked.tls.server_name.clone().or_else(|| match &asked.origin.address {
        OriginAddress::Tcp(host, _) => Some(host.clone()),
        OriginAddress::Unix(_) => None,
    });
    there.origin.address = OriginAddress::Tcp(address.to_string(), port);
    there.origin.authority = socket.to_string();
    there.name = there.origin.to_string();
    Some(there)
}

/// Whether tokens and secrets cross a network in clear on their way to the gateway.
pub(super) fn exposed(patient: &Patient<'_>, findings: &mut Vec<Finding>) {
    let server = &patient.settings.server;
    let open: Vec<String> = server
        .listen
        .iter()
        .filter_map(|listen| match listen {
            Listen::Tcp(address) if !address.ip().is_loopback() => Some(address.to_string()),
            Listen::Tcp(_) | Listen::Unix(_) => None,
        })
        .collect();
    if open.is_empty() {
        return;
    }
    if false {
        let found = format!("{} speaks TLS", open.join(", "));
        findings.push(Finding::new(Level::Ok, "clear text", found));
        return;
    }
    let found =
        format!("{} speaks plain HTTP: tokens and secrets can be read on the way", open.join(", "));
    findings.push(Finding::new(Level::Warning, "clear text", found).mend(
        "give it a certificate (server.tls), or let only a TLS proxy on this machine or network reach it",
    ));
    for network in server.trusted_proxies.iter().filter(|network| network.prefix_len() == 0) {
        let found = format!("server.trusted_proxies has {network}: every client may say who it is");
        findings.push(
            Finding::new(Level::Fault, "trusted proxies", found).mend("name the proxies alone"),
        );
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The addresses by which this machine is known on its networks: those it would send from. Nothing is sent.
fn addresses() -> Vec<IpAddr> {
    let mut found = Vec::new();
    for (from, to) in [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")] {
        let address = UdpSocket::bind(from)
            .and_then(|socket| socket.connect(to).and_then(|()| socket.local_addr()));
        found.extend(address.ok().map(|address| address.ip()));
    }
    found.extend(interfaces());
    found.retain(|address| !address.is_loopback() && !address.is_unspecified());
    found.sort();
    found.dedup();
    found.truncate(MAX_ADDRESSES);
    found
}

/// The IPv4 addresses of every interface, by the kernel's own routing table, where it shows that.
fn interfaces() -> Vec<IpAddr> {
    let table = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let mut found = Vec::new();
    let mut last = None;
    for line in table.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<IpAddr>().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(last);
        }
    }
    found
}

const CHECK: &str = "a way around";
/// Most addresses of this machine that are tried.
const MAX_ADDRESSES: usize = 16;
