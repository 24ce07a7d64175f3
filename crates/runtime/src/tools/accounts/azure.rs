//! One Azure subscription, as `az` keeps it: the profile with nothing but that subscription, and the
//! cached tokens of the account that it belongs to.

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::{Account, Operator, read_text};

const WITHOUT: &[&str] = &["AZURE_CONFIG_DIR"];

/// Finds the subscription that is chosen, or the default one.
pub(super) fn find(choice: Option<&str>, operator: &Operator) -> Account {
    let directory = operator.file("AZURE_CONFIG_DIR", ".azure").unwrap_or_default();
    let json = |name: &str| -> Option<Value> {
        let text = read_text(&directory.join(name))?;
        serde_json::from_str(text.trim_start_matches('\u{feff}')).ok()
    };
    let mut account = Account {
        env: vec![("AZURE_CONFIG_DIR", "{home}/.azure".to_owned())],
        without: WITHOUT,
        ..Account::default()
    };
    let none = |mut account: Account, why: &str| {
        account.credential = format!("az, without credentials: {why}");
        account
    };
    let Some(mut profile) = json("azureProfile.json") else {
        return none(account, "nobody is logged in");
    };
    let wanted = choice.and_then(|choice| choice.strip_prefix("subscription="));
    let Some(subscription) = take(&mut profile, wanted) else {
        return none(account, "there is no such subscription");
    };
    let word = |path: &str| {
        subscription.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (name, user, kind) = (word("/name"), word("/user/name"), word("/user/type"));
    let file = |name: &str, value: &Value| {
        (format!(".azure/{name}").into(), SecretString::from(value.to_string()))
    };
    account.files.push(file("azureProfile.json", &profile));
    if kind == "servicePrincipal" {
        let entries = json("service_principal_entries.json").unwrap_or_default();
        let entries = entries.as_array().cloned().unwrap_or_default().into_iter();
        let own: Vec<Value> =
            entries.filter(|entry| entry.get("client_id").is_some_and(|id| *id == *user)).collect();
        account.secrets.extend(
            own.iter().filter_map(|entry| Some(entry.get("client_secret")?.as_str()?.to_owned())),
        );
        account.files.push(file("service_principal_entries.json", &Value::from(own)));
    }
    if let Some(cache) = json("msal_token_cache.json") {
        let own = of_user(&cache, &user);
        account.secrets.extend(secrets_in(&own));
        account.files.push(file("msal_token_cache.json", &own));
    }
    for name in ["config", "clouds.config"] {
        if let Some(text) = read_text(&directory.join(name)) {
            account.files.push((format!(".azure/{name}").into(), text.into()));
        }
    }
    account.credential = format!("az subscription `{name}`, user `{user}`");
    account
}

/// Leaves one subscription in a profile, as its default, and returns it.
fn take(profile: &mut Value, wanted: Option<&str>) -> Option<Value> {
    let all = profile.get_mut("subscriptions")?.as_array_mut()?;
    let is = |entry: &Value, key: &str, value: &str| {
        entry.get(key).and_then(Value::as_str).is_some_and(|held| held.eq_ignore_ascii_case(value))
    };
    let at = all.iter().position(|entry| match wanted {
        Some(wanted) => is(entry, "id", wanted) || is(entry, "name", wanted),
        None => entry.get("isDefault") == Some(&Value::Bool(true)),
    })?;
    let mut one = all.swap_remove(at);
    one.as_object_mut()?.insert("isDefault".to_owned(), Value::Bool(true));
    *all = vec![one.clone()];
    Some(one)
}

/// The entries of a token cache that belong to a user. They are told apart by the account's id.
fn of_user(cache: &Value, user: &str) -> Value {
    let sections = cache.as_object().cloned().unwrap_or_default();
    let accounts = sections.get("Account").and_then(Value::as_object).cloned().unwrap_or_default();
    let ids: Vec<&Value> = accounts
        .values()
        .filter(|held| {
            let name = held.get("username").and_then(Value::as_str).unwrap_or_default();
            name.eq_ignore_ascii_case(user)
        })
        .filter_map(|held| held.get("home_account_id"))
        .collect();
    let mut kept = Map::new();
    for (name, section) in &sections {
        let entries = section.as_object().cloned().unwrap_or_default().into_iter();
        let own: Map<String, Value> = entries
            .filter(|(_, entry)| match entry.get("home_account_id") {
                Some(id) => ids.contains(&id),
                // Tokens of applications carry the application's id instead.
                None => {
                    entry.get("client_id").is_some_and(|id| *id == *user) || name == "AppMetadata"
                }
            })
            .collect();
        kept.insert(name.clone(), Value::Object(own));
    }
    Value::Object(kept)
}

fn secrets_in(cache: &Value) -> Vec<String> {
    let sections = cache.as_object().into_iter().flat_map(Map::values);
    let entries = sections.filter_map(Value::as_object).flat_map(Map::values);
    entries.filter_map(|entry| Some(entry.get("secret")?.as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::operator;
    use super::*;
    use secrecy::ExposeSecret;
    use serde_json::json;

    #[test]
    fn one_subscription_is_taken_and_only_its_user_s_tokens() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join(".azure");
        std::fs::create_dir(&directory).unwrap();
        let of = |id: &str, name: &str, user: &str, default: bool| json!({"id": id, "name": name, "user": {"name": user, "type": "user"}, "isDefault": default});
        let profile = json!({"installationId": "i", "subscriptions": [
            of("1", "dev", "me@dev.test", true), of("2", "prod", "me@prod.test", false)]});
        std::fs::write(directory.join("azureProfile.json"), format!("\u{feff}{profile}")).unwrap();
        let cache = json!({
            "Account": {"a": {"username": "me@dev.test", "home_account_id": "A"},
                        "b": {"username": "me@prod.test", "home_account_id": "B"}},
            "RefreshToken": {"a": {"home_account_id": "A", "secret": "the-dev-token"},
                             "b": {"home_account_id": "B", "secret": "the-prod-token"}},
        });
        std::fs::write(directory.join("msal_token_cache.json"), cache.to_string()).unwrap();
        let text = |account: &Account| {
            account
                .files
                .iter()
                .map(|(_, text)| text.expose_secret().to_owned())
                .collect::<String>()
        };
        let dev = find(None, &operator(home.path(), &[]));
        assert_eq!(dev.credential, "az subscription `dev`, user `me@dev.test`");
        assert_eq!(dev.secrets, ["the-dev-token"]);
        assert!(!text(&dev).contains("prod"), "{}", text(&dev));
        let prod = find(Some("subscription=prod"), &operator(home.path(), &[]));
        assert_eq!(prod.secrets, ["the-prod-token"]);
        assert!(!text(&prod).contains("dev") && text(&prod).contains("\"isDefault\":true"));
        let none = find(Some("subscription=none"), &operator(home.path(), &[]));
        assert!(none.credential.contains("no such subscription") && none.files.is_empty());
    }
}
