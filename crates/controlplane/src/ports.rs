use std::net::{Ipv4Addr, TcpListener};

use crate::{Error, Result};

/// A TCP port that is free on 127.0.0.1 now. Nothing reserves it: whoever listens on it must expect, if rarely, that
/// it was taken in between.
pub fn free_port() -> Result<u16> {
    let [port] = free_ports()?;
    Ok(port)
}

/// Several different ports, each as of [`free_port`].
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // All listeners are held until the last is open, so that no port comes twice.
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::NoPort)?;
        *port = listener.local_addr().map_err(Error::NoPort)?.port();
        listeners.push(listener);
    }
    Ok(ports)
}
