//! hmm
