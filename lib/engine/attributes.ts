/**
 * Attributes of TensorFlow operations, as tfjs-node's kernels name them, set on an eager operation or on an operation
 * of a graph: the C API has the same setters twice, `TFE_OpSetAttr…` and `TF_SetAttr…`.
 *
 * @module
 */
import { attributeTypes, keptCString, type Libtensorflow } from "./libtensorflow_symbols.ts";

/** An attribute of an operation: its name, its kind (TF_AttrType) and its value, an array for a list. */
export interface OpAttribute {
  name: string;
  type: number;
  value: unknown;
}

type Pointer = Deno.PointerValue;
type Bytes = Uint8Array<ArrayBuffer>;

/** One family of setters, for one kind of operation. */
export interface AttributeSetters {
  string(operation: Pointer, name: Bytes, value: Bytes, length: bigint): void;
  int(operation: Pointer, name: Bytes, value: bigint): void;
  intList(operation: Pointer, name: Bytes, values: BigInt64Array<ArrayBuffer>, length: number): void;
  float(operation: Pointer, name: Bytes, value: number): void;
  floatList(operation: Pointer, name: Bytes, values: Float32Array<ArrayBuffer>, length: number): void;
  bool(operation: Pointer, name: Bytes, value: number): void;
  type(operation: Pointer, name: Bytes, value: number): void;
  typeList(operation: Pointer, name: Bytes, values: Int32Array<ArrayBuffer>, length: number): void;
  shape(operation: Pointer, name: Bytes, dims: BigInt64Array<ArrayBuffer>, length: number): void;
}

/** The setters of an eager operation (TFE_Op). */
export function eagerSetters({ symbols }: Libtensorflow, status: Pointer): AttributeSetters {
  return {
    string: symbols.TFE_OpSetAttrString,
    int: symbols.TFE_OpSetAttrInt,
    intList: symbols.TFE_OpSetAttrIntList,
    float: symbols.TFE_OpSetAttrFloat,
    floatList: symbols.TFE_OpSetAttrFloatList,
    bool: symbols.TFE_OpSetAttrBool,
    type: symbols.TFE_OpSetAttrType,
    typeList: symbols.TFE_OpSetAttrTypeList,
    shape: (operation, name, dims, length) =>
      symbols.TFE_OpSetAttrShape(operation, name, dims, length, status),
  };
}

/** The setters of an operation of a graph (TF_OperationDescription). */
export function graphSetters({ symbols }: Libtensorflow): AttributeSetters {
  return {
    string: symbols.TF_SetAttrString,
    int: symbols.TF_SetAttrInt,
    intList: symbols.TF_SetAttrIntList,
    float: symbols.TF_SetAttrFloat,
    floatList: symbols.TF_SetAttrFloatList,
    bool: symbols.TF_SetAttrBool,
    type: symbols.TF_SetAttrType,
    typeList: symbols.TF_SetAttrTypeList,
    shape: symbols.TF_SetAttrShape,
  };
}

/** Sets one attribute of an operation. */
export function setAttribute(set: AttributeSetters, operation: Pointer, attribute: OpAttribute): void {
  const { type, value } = attribute;
  const name = keptCString(attribute.name);
  switch (type) {
    case attributeTypes.TF_ATTR_STRING: {
      const bytes = encoder.encode(value as string);
      return set.string(operation, name, bytes, BigInt(bytes.length));
    }
    case attributeTypes.TF_ATTR_INT:
      return Array.isArray(value)
        ? set.intList(operation, name, int64s(value), value.length)
        : set.int(operation, name, int64(value as number));
    case attributeTypes.TF_ATTR_FLOAT:
      return Array.isArray(value)
        ? set.floatList(operation, name, Float32Array.from(value), value.length)
        : set.float(operation, name, value as number);
    case attributeTypes.TF_ATTR_BOOL:
      return set.bool(operation, name, Number(value));
    case attributeTypes.TF_ATTR_TYPE:
      return Array.isArray(value)
        ? set.typeList(operation, name, Int32Array.from(value), value.length)
        : set.type(operation, name, value as number);
    case attributeTypes.TF_ATTR_SHAPE: {
      const dims = int64s(value as number[]);
      return set.shape(operation, name, dims, dims.length);
    }
    default:
      throw new Error(`Cannot set attribute "${attribute.name}": its kind ${type} is unknown`);
  }
}

const encoder = new TextEncoder();

/** A whole number for the C API; tfjs passes some seeds with a fraction. */
function int64(value: number): bigint {
  return BigInt(Math.trunc(value));
}

/** Whole numbers for the C API, as an array of int64. */
export function int64s(values: readonly number[]): BigInt64Array<ArrayBuffer> {
  return BigInt64Array.from(values, int64);
}
