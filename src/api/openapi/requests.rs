//! The schemas of request bodies in the document, JSON and form. Fields are read by name, so these
//! types are never constructed.
#![allow(dead_code, reason = "the document is made of their fields alone")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::openapi::encoding::Encoding;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::api::batch::MAX_PERSONS;

/// The pattern of a person's id: the integer, or the uuid with or without hyphens.
pub const PERSON_ID: &str = "^([0-9]+|[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}|[0-9A-Fa-f]{32})$";

/// The properties to set; the others stay.
#[derive(ToSchema)]
#[schema(examples(json!({"properties": {"plan": "team", "seats": null}})))]
pub struct PropertiesToSet {
    /// Keys and values; `null` is a value.
    #[schema(value_type = Object)]
    properties: Value,
}

/// A property to set, or several.
#[derive(ToSchema)]
#[schema(examples(json!({"key": "plan", "value": "team"})))]
#[serde(untagged)]
pub enum PropertyToUpdate {
    One {
        #[schema(schema_with = text)]
        key: String,
        value: Value,
        #[schema(rename = "$set", required = false, schema_with = null)]
        set: (),
    },
    Several {
        /// Keys and values.
        #[schema(rename = "$set", value_type = Object)]
        set: Value,
    },
}

/// The properties to delete.
#[derive(ToSchema)]
#[schema(examples(json!({"$unset": "plan"})))]
pub struct PropertiesToDelete {
    /// A key, or several.
    #[schema(rename = "$unset", schema_with = some_texts)]
    unset: Vec<String>,
}

/// The distinct ids that leave a person: these, or all but one.
#[derive(ToSchema)]
#[schema(examples(json!({"distinct_ids_to_split": ["0190cccc-c3d4-7e5f-8a9b-0c1d2e3f4a5b"]})))]
#[serde(untagged)]
pub enum DistinctIdsToSplit {
    These {
        /// Those that leave.
        #[schema(schema_with = some_texts)]
        distinct_ids_to_split: Vec<String>,
        #[schema(required = false, schema_with = null)]
        main_distinct_id: (),
    },
    AllBut {
        /// The one that stays.
        #[schema(schema_with = text)]
        main_distinct_id: String,
        #[schema(required = false, schema_with = null)]
        distinct_ids_to_split: (),
    },
    #[schema(max_properties = 0)]
    AllButTheFirst {},
}

/// The distinct id that may be used again.
#[derive(ToSchema)]
#[schema(examples(json!({"distinct_id": "bob"})))]
pub struct DistinctIdToReset {
    #[schema(schema_with = text)]
    distinct_id: String,
}

/// The persons to delete.
#[derive(ToSchema)]
#[schema(examples(json!({"distinct_ids": ["bob"]})))]
#[serde(untagged)]
pub enum PersonsToDelete {
    ByIds {
        /// Integer ids or uuids.
        #[schema(schema_with = ids)]
        ids: Vec<String>,
        #[schema(required = false, schema_with = null)]
        distinct_ids: (),
    },
    ByDistinctIds {
        #[schema(schema_with = texts)]
        distinct_ids: Vec<String>,
        #[schema(required = false, schema_with = null)]
        ids: (),
    },
}

/// The persons to find.
#[derive(ToSchema)]
#[schema(examples(json!({"distinct_ids": ["bob", "nobody"]})))]
pub struct DistinctIdsToFind {
    #[schema(schema_with = texts)]
    distinct_ids: Vec<String>,
}

/// The persons to find.
#[derive(ToSchema)]
#[schema(examples(json!({"uuids": ["7d15b82a-df57-5ed7-b9e0-6dd1cadab965"]})))]
pub struct UuidsToFind {
    #[schema(max_items = 1_000, value_type = Vec<Uuid>)]
    uuids: Vec<String>,
}

/// A uuid.
#[derive(ToSchema)]
#[schema(format = "uuid")]
pub struct Uuid(String);

/// Any number of lines of JSON, each of which is a `LineToJoin`.
pub struct LinesToJoin;

impl PartialSchema for LinesToJoin {
    fn schema() -> RefOr<Schema> {
        lines("LineToJoin", "A `LineToJoin` a line, as many as there are.")
    }
}

impl ToSchema for LinesToJoin {}

/// Returns the schema of lines of JSON, each of which has a named schema.
pub fn lines(schema: &str, words: &str) -> RefOr<Schema> {
    let line = utoipa::openapi::Ref::from_schema_name(schema);
    let lines = ObjectBuilder::new().schema_type(Type::String).description(Some(words));
    lines.content_media_type("application/json").content_schema(Some(line)).into()
}

/// Returns how the fields of a body are written in a form: those that are not plain texts as JSON.
pub fn encoding(body: &Schema) -> BTreeMap<String, Encoding> {
    let objects: Vec<&Object> = match body {
        Schema::Object(object) => vec![object],
        Schema::OneOf(one_of) => one_of.items.iter().filter_map(object).collect(),
        _ => Vec::new(),
    };
    let fields = objects.into_iter().flat_map(|object| &object.properties);
    let is_text = |field: &RefOr<Schema>| {
        let kind = object(field).map(|field| &field.schema_type);
        matches!(kind, Some(SchemaType::Array(_) | SchemaType::Type(Type::Null)))
    };
    let json = || Encoding::builder().content_type(Some("application/json")).build();
    fields.filter(|(_, field)| !is_text(field)).map(|(name, _)| (name.clone(), json())).collect()
}

fn object(schema: &RefOr<Schema>) -> Option<&Object> {
    match schema {
        RefOr::T(Schema::Object(object)) => Some(object),
        _ => None,
    }
}

/// The schema of a string; a number counts as the text that it is written as.
fn text() -> ObjectBuilder {
    let types = SchemaType::from_iter([Type::String, Type::Number]);
    ObjectBuilder::new().schema_type(types).min_length(Some(1))
}

/// The schema of a string, or an array of strings.
fn texts() -> OneOfBuilder {
    several(text, 0)
}

/// The schema of a string, or an array of at least one string.
fn some_texts() -> OneOfBuilder {
    several(text, 1)
}

/// The schema of a field that is always null, or absent; null counts as absent.
pub fn null() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Null)
}

/// The schema of a person's id, or an array of ids.
fn ids() -> OneOfBuilder {
    let types = SchemaType::from_iter([Type::String, Type::Integer]);
    several(
        || {
            let id = ObjectBuilder::new().schema_type(types.clone());
            id.pattern(Some(PERSON_ID)).minimum(Some(0))
        },
        0,
    )
}

fn several(one: impl Fn() -> ObjectBuilder, least: usize) -> OneOfBuilder {
    let several = ArrayBuilder::new().items(one()).max_items(Some(MAX_PERSONS));
    let several = several.min_items((least > 0).then_some(least));
    OneOfBuilder::new().item(several).item(one())
}
