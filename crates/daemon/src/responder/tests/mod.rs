//! Journals in a cluster, on a real API server.

mod journals;
