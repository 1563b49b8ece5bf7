use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Error, Result};

/// Where the kernel takes the ports of outgoing connections and of listeners on port 0 from.
/// <https://docs.kernel.org/networking/ip-sysctl.html>
const LOCAL_PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// The lowest port that is given away.
const FIRST: u32 = 10_000;

/// Fewer than this below the kernel's own are not worth the search.
const ENOUGH: u32 = 1_000;

/// How many ports this process has looked at.
static LOOKED_AT: AtomicU32 = AtomicU32::new(0);

/// A TCP port that is free on 127.0.0.1 now, that this process was not given before, and that the kernel gives to
/// nobody who does not ask for it by number. Only another process that wants this very port can take it in between.
pub fn free_port() -> Result<u16> {
    let limit = first_local_port().unwrap_or(0);
    if limit < FIRST + ENOUGH {
        return listen(0);
    }
    let many = limit - FIRST;
    // Processes that start one after the other begin far from each other.
    let start = process::id().wrapping_mul(7_919) % many;
    let tries = (0..many).map(|_| LOOKED_AT.fetch_add(1, Ordering::Relaxed) % many);
    let mut ports = tries.filter_map(|n| u16::try_from(FIRST + (start + n) % many).ok());
    ports.find_map(|port| listen(port).ok()).map_or_else(|| listen(0), Ok)
}

/// Several different ports, each as of [`free_port`].
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    for port in &mut ports {
        *port = free_port()?;
    }
    Ok(ports)
}

fn listen(port: u16) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(Error::NoPort)?;
    Ok(listener.local_addr().map_err(Error::NoPort)?.port())
}

fn first_local_port() -> Option<u32> {
    fs::read_to_string(LOCAL_PORTS).ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_comes_twice_and_none_is_the_kernels() {
        let Some(limit) = first_local_port().filter(|limit| *limit >= FIRST + ENOUGH) else { return };
        let mut ports: Vec<u16> = (0..200).map(|_| free_port().unwrap()).collect();
        assert!(ports.iter().all(|port| (FIRST..limit).contains(&u32::from(*port))), "{ports:?}");
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 200);
    }
}
