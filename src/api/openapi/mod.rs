//! The OpenAPI 3.1 document of the HTTP API, built from the attributes of the handlers.
//!
//! Reading order: [`Route`], a path with its handlers and their descriptions → [`document`], how routes
//! become one document, under both prefixes → [`parameters`], [`mod@filter`] and [`requests`], what is sent →
//! [`bodies`], [`past`] and [`log`], what is answered → [`answers`], the answers of each kind of route,
//! errors included → [`page`], how the document is served.
//!
//! Guarantees: a method is in the router and in the document, or in neither; what applies to every route is
//! written once and added to each.

pub mod answers;
pub mod bodies;
mod filter;
pub mod log;
pub mod page;
pub mod parameters;
pub mod past;
pub mod requests;

use axum::handler::Handler;
use axum::routing::MethodRouter;
use utoipa::OpenApi;
use utoipa::openapi::path::{HttpMethod, Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    Components, ObjectBuilder, OpenApi as Document, PathItem, Ref, RefOr, Required, Type,
};

use super::State;
use super::access::KEY_PARAMETER;

/// The extension that names the scope that an operation requires; `any` if every key will do.
const SCOPE: &str = "x-required-scope";

/// A path with its handlers, and their descriptions for the document.
pub struct Route {
    /// The path, to be put under a prefix or complete.
    pub path: &'static str,
    /// The handlers, by method.
    pub methods: MethodRouter<State>,
    operations: Vec<(HttpMethod, Operation)>,
    /// The paths in the attributes of the handlers.
    #[cfg(test)]
    pub told: Vec<String>,
}

impl Route {
    /// Creates a route without methods.
    pub fn new(path: &'static str) -> Self {
        Self {
            path,
            methods: MethodRouter::new(),
            operations: Vec::new(),
            #[cfg(test)]
            told: Vec::new(),
        }
    }

    /// Adds a method with the description of its handler, `D`.
    pub fn with<D>(mut self, method: HttpMethod, methods: MethodRouter<State>) -> Self
    where
        D: utoipa::Path + for<'t> utoipa::__dev::Tags<'t>,
    {
        let mut operation = D::operation();
        operation.tags = Some(D::tags().into_iter().map(str::to_owned).collect());
        #[cfg(test)]
        self.told.push(D::path());
        self.methods = self.methods.merge(methods);
        self.operations.push((method, operation));
        self
    }

    /// Sets the handler of all other methods, which the document does not mention.
    pub fn fallback<T: 'static>(mut self, handler: impl Handler<T, State>) -> Self {
        self.methods = self.methods.fallback(handler);
        self
    }
}

/// Builds a [`Route`] from a path and its handlers, such as `route!("/persons", get list::persons)`. A
/// handler without `#[utoipa::path]` does not compile here.
macro_rules! route {
    ($path:literal $(, $method:ident $room:ident::$handler:ident)+) => {
        pastey::paste! {
            $crate::api::openapi::Route::new($path)$(.with::<$room::[<__path_ $handler>]>(
                utoipa::openapi::path::HttpMethod::[<$method:camel>],
                axum::routing::$method($room::$handler),
            ))+
        }
    };
}
pub(in crate::api) use route;

/// The parts of the document that do not belong to a single route.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "personview",
        description = include_str!("description.md"),
        license(name = "MIT", identifier = "MIT"),
    ),
    tags(
        (name = "persons", description = "Persons as they are now."),
        (name = "past", description = "Persons as they were at a moment, and how they came to be."),
        (name = "log", description = "What changed, and who did what."),
        (name = "writes", description = "Changes of persons, by way of Kafka."),
        (name = "projects", description = "The projects of a key: where connectors begin."),
        (name = "operation", description = "For monitors and tools; no key needed."),
    ),
    components(schemas(
        bodies::Accepted, bodies::Deleted, past::Difference, past::History,
        past::JoinedLine, past::LineToJoin, bodies::Liveness, bodies::Person,
        past::PersonAtTime, log::Changes, log::ActivityLog, bodies::Persons, bodies::PersonsFound, bodies::Project,
        bodies::Projects, bodies::Readiness, bodies::Success, bodies::Values,
        filter::Filter, filter::Group, filter::Part, filter::Condition,
        requests::PropertiesToSet, requests::PropertyToUpdate, requests::PropertiesToDelete,
        requests::DistinctIdsToSplit, requests::DistinctIdToReset, requests::PersonsToDelete,
        requests::DistinctIdsToFind, requests::UuidsToFind, requests::LinesToJoin,
    )),
)]
struct Common;

/// Builds the document of these routes: those of a project under each prefix, and the others.
pub fn document(prefixes: &[&str], of_project: &[Route], others: &[Route]) -> Document {
    let mut document = Common::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    components(document.components.get_or_insert_default());
    let under =
        |prefix: &str, route: &Route| (format!("{prefix}{}", route.path), route.operations.clone());
    let of_prefixes =
        prefixes.iter().flat_map(|prefix| of_project.iter().map(|route| under(prefix, route)));
    for (path, operations) in of_prefixes.chain(others.iter().map(|route| under("", route))) {
        let path = path.replace("{project}", "{project_id}");
        let item = document.paths.paths.entry(path.clone()).or_default();
        item.parameters = parameters_of(&path);
        for (method, mut operation) in operations {
            describe_form(&mut operation, document.components.as_ref());
            let operation = finished(&path, &method, operation);
            item.merge_operations(PathItem::new(method, operation));
        }
    }
    document
}

/// Describes how the fields of a body are written in a form.
fn describe_form(operation: &mut Operation, components: Option<&Components>) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    let Some(RefOr::T(form)) = body.content.get_mut("application/x-www-form-urlencoded") else {
        return;
    };
    let name = match &form.schema {
        Some(RefOr::Ref(to)) => to.ref_location.rsplit('/').next(),
        _ => None,
    };
    let schema = name.zip(components).and_then(|(name, all)| all.schemas.get(name));
    if let Some(RefOr::T(schema)) = schema {
        form.encoding = requests::encoding(schema);
    }
}

/// Adds what every operation has: its id, its scope, and the failures that are common to all.
fn finished(path: &str, method: &HttpMethod, mut operation: Operation) -> Operation {
    operation.operation_id = Some(operation_id(path, method));
    let scope =
        operation.extensions.as_ref().and_then(|extensions| extensions.get(SCOPE)?.as_str());
    let scope = scope.map(str::to_owned);
    let failures = &mut operation.responses.responses;
    for (status, failure) in answers::common(path, scope.is_some()) {
        failures.entry(status).or_insert(failure);
    }
    if let Some(scope) = scope {
        let words = match scope.as_str() {
            "any" => "Any key will do, whatever its scopes.".to_owned(),
            scope => format!("The key needs the scope `{scope}`."),
        };
        let description = operation.description.take().filter(|text| !text.is_empty());
        let description = description.map_or(words.clone(), |text| format!("{text}\n\n{words}"));
        operation.description = Some(description);
        let scopes: Vec<_> = Some(scope).filter(|scope| scope != "any").into_iter().collect();
        let by = |name: &str| SecurityRequirement::new(name, scopes.clone());
        operation.security = Some(vec![by("bearer"), by(KEY_PARAMETER)]);
    }
    operation
}

/// Returns the id of an operation, formed as in PostHog's own document: `persons_list`,
/// `environments_persons_delete_property_create`.
fn operation_id(path: &str, method: &HttpMethod) -> String {
    let is_list = ["/persons", "/projects", "/environments"].iter().any(|end| path.ends_with(end));
    let verb = match method {
        HttpMethod::Get if is_list => "list",
        HttpMethod::Get => "retrieve",
        HttpMethod::Put => "update",
        HttpMethod::Patch => "partial_update",
        HttpMethod::Delete => "destroy",
        _ => "create",
    };
    let path = path
        .trim_start_matches("/api")
        .replace("/projects/{project_id}/", "/")
        // Without these, the id would be that of another route, from which only a part in braces differs.
        .replace("/persons/activity", "/persons/all_activity")
        .replace("{file}", "file");
    let names =
        path.split(['/', '.', '_']).filter(|part| !part.is_empty() && !part.starts_with('{'));
    let names: Vec<_> = names.filter(|part| !part.ends_with('}')).collect();
    format!("{}_{verb}", names.join("_"))
}

/// Returns references to the parameters in a path.
fn parameters_of(path: &str) -> Option<Vec<RefOr<Parameter>>> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let refs: Vec<_> =
        names.map(|name| RefOr::Ref(Ref::new(format!("#/components/parameters/{name}")))).collect();
    (!refs.is_empty()).then_some(refs)
}

/// Adds what operations refer to, except schemas.
fn components(components: &mut Components) {
    let in_path = |name: &str, pattern: &str, example: &str, words: &str| {
        let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some(words))
            .schema(Some(schema))
            .example(Some(example.into()));
        (name.to_owned(), parameter.build().into())
    };
    components.parameters.extend([
        in_path(
            "project_id",
            "^([0-9]+|@current)$",
            "1",
            "The project's id; `@current` is the only project of the key.",
        ),
        in_path(
            "id",
            requests::PERSON_ID,
            "120747818924389",
            "The person's integer id or its uuid, in upper or lower case, with or without hyphens.",
        ),
        in_path("file", "^[a-z0-9.-]+$", "swagger-ui.css", "A file of the page."),
    ]);
    components.responses.extend(answers::failures());
    let bearer = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some(
        "The key, as `Authorization: Bearer <key>`. A write or a batch may have it in the field \
         `personal_api_key` of its body instead. Header, body, query: only the first one present \
         is tried.",
    ));
    let query = ApiKeyValue::with_description(
        KEY_PARAMETER,
        "The key in the query, for those who cannot send a header: URLs end up in proxies' logs.",
    );
    components.security_schemes.extend([
        ("bearer".to_owned(), SecurityScheme::Http(bearer.build()).into()),
        (KEY_PARAMETER.to_owned(), SecurityScheme::ApiKey(ApiKey::Query(query)).into()),
    ]);
}
