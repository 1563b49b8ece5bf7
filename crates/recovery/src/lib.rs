//! Backup, catalog, verification, browsing and restores: joins archive, store, etcd and kubernetes.
