//! Extensions: the grammar of their header (§9.1).
