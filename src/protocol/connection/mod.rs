//! One endpoint.
