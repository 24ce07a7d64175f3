//! How a server is recognised: rustls with aws-lc-rs, the certificate's chain and name checked.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::AddressError;

/// Trusts the authorities in `roots` (PEM) and no others, or else those of the machine.
pub(crate) fn client(roots: Option<&Path>) -> Result<ClientConfig, AddressError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| AddressError::NoAuthorities)?;
    let Some(path) = roots else {
        let verified = builder.with_platform_verifier().map_err(|_| AddressError::NoAuthorities)?;
        return Ok(verified.with_no_client_auth());
    };
    let wrong = |why| AddressError::Certificates { path: path.display().to_string(), why };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|_| wrong("it can't be read"))?;
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|_| wrong("it is not PEM"))?;
        store.add(certificate).map_err(|_| wrong("one of them is not an X.509 certificate"))?;
    }
    if store.is_empty() {
        return Err(wrong("there is none in it"));
    }
    Ok(builder.with_root_certificates(store).with_no_client_auth())
}
