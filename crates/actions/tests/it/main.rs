//! The actions on a real control plane: API server, controller manager, scheduler, and nodes of kwok.
#![cfg(test)]

mod accounts;
mod containment;
mod library;
mod live;
mod locks;
mod nodes;
mod outside;
mod refusals;
mod rollouts;
mod workloads;
mod world;
