//! A proof is made by sealing a spend, and in no other way.
use lar_core::audit::trail::Proof;

fn forge(proof: Proof) -> Proof {
    Proof { token_name: "deploy".to_owned(), ..proof }
}

fn main() {}
