#pragma once
// Certificates for tests, made when the test runs: nothing in the repository grows old.

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <fstream>
#include <memory>
#include <string>

#include "tests/temporary_folder.hpp"

namespace diot {

class CertificateFiles {
 public:
  std::string path(const std::string& name) const { return folder_.path() + "/" + name; }
  /// Returns the path.
  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(path(name)) << content;
    return path(name);
  }

 private:
  TemporaryFolder folder_;
};

/// Writes NAME.crt, and issues certificates.
class CertificateAuthority {
 public:
  CertificateAuthority(const CertificateFiles& files, const std::string& name)
      : files_(files), key_(make_key(name + ".key")), certificate_(nullptr, X509_free) {
    certificate_ = make(name, key_.get(), true);
    files_.write(name + ".crt", pem(certificate_.get()));
  }
  /// Writes the key, returns the certificate as PEM.
  std::string issue(const std::string& name, const std::string& key_file) {
    const Key key = make_key(key_file);
    return pem(make(name, key.get(), false).get());
  }

 private:
  using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

  Key make_key(const std::string& file) const {
    Key key(EVP_EC_gen("P-256"), EVP_PKEY_free);
    FILE* out = std::fopen(files_.path(file).c_str(), "w");
    PEM_write_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(out);
    return key;
  }
  Certificate make(const std::string& name, EVP_PKEY* key, bool authority) {
    Certificate made(X509_new(), X509_free);
    X509_set_version(made.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(made.get()), ++serial_);
    X509_gmtime_adj(X509_getm_notBefore(made.get()), -3600);
    X509_gmtime_adj(X509_getm_notAfter(made.get()), 3600);
    X509_NAME* subject = X509_get_subject_name(made.get());
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(name.c_str()), -1,
                               -1, 0);
    X509_set_issuer_name(made.get(), authority ? subject : X509_get_subject_name(certificate_.get()));
    X509_set_pubkey(made.get(), key);
    const std::string value = authority ? "critical,CA:TRUE" : "DNS:" + name;
    X509_EXTENSION* extension =
        X509V3_EXT_conf_nid(nullptr, nullptr, authority ? NID_basic_constraints : NID_subject_alt_name, value.c_str());
    X509_add_ext(made.get(), extension, -1);
    X509_EXTENSION_free(extension);
    X509_sign(made.get(), key_.get(), EVP_sha256());
    return made;
  }
  static std::string pem(X509* certificate) {
    BIO* bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, certificate);
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::string out(data, static_cast<std::size_t>(size));
    BIO_free(bio);
    return out;
  }

  const CertificateFiles& files_;
  long serial_ = 0;
  Key key_;
  Certificate certificate_;
};

}  // namespace diot
