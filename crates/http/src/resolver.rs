//! Which addresses a name may stand for.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::vec;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower_service::Service;

/// Which addresses the name of a host may stand for. A host that is given by its address is not resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// Whatever it resolves to.
    Any,
    /// Not this machine, nor what only this machine or link can reach, as the metadata service of a cloud: whoever
    /// changes the name's record must not reach those.
    Routed,
}

/// The system's resolver, of which such addresses are kept back.
#[derive(Clone)]
pub(crate) struct Resolver {
    system: GaiResolver,
    addresses: Addresses,
}

impl Resolver {
    pub(crate) fn new(addresses: Addresses) -> Self {
        Self { system: GaiResolver::new(), addresses }
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.system.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (found, addresses) = (self.system.call(name), self.addresses);
        async move {
            let found = found.await?.filter(|address| addresses == Addresses::Any || is_routed(address.ip()));
            let found: Vec<SocketAddr> = found.collect();
            if found.is_empty() {
                let reason =
                    "the host's name stands for no address that may be called: this machine and its link may not";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
            }
            Ok(found.into_iter())
        }
        .boxed()
    }
}

/// Whether an address is another machine's, not merely by a neighbour of this one.
fn is_routed(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast())
        }
        IpAddr::V6(v6) => {
            // AWS has its metadata service at fd00:ec2::254 too.
            let metadata = v6.segments() == [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254];
            !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast() || metadata)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_its_link_are_not_routed() {
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
        ] {
            assert!(!is_routed(address.parse().unwrap()), "{address}");
        }
        // A service of the cluster has a private address.
        for address in ["10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "1.1.1.1", "fd00::1", "2606:4700::1111"]
        {
            assert!(is_routed(address.parse().unwrap()), "{address}");
        }
    }
}
