// The standard reflection service, v1 and v1alpha, which say the same in two packages. It serves the
// descriptors that the generated code of each added service carries, so it needs no file and always fits
// what the server has. (The package @grpc/reflection loses files when a package has several.)

import { create, type DescFile, type DescService, toBinary } from '@bufbuild/protobuf';
import { nestedTypes } from '@bufbuild/protobuf/reflect';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { type ServerDuplexStream, status } from '@grpc/grpc-js';
import {
  type ServerReflectionRequest,
  type ServerReflectionResponse,
  ServerReflectionResponseSchema,
} from '@ternmq/proto/gen/grpc/reflection/v1/reflection_pb';

type Answer = ServerReflectionResponse['messageResponse'];

/** What a server can tell about its own schema. */
export class Reflection {
  readonly #services: string[] = [];
  readonly #files = new Map<string, DescFile>();
  readonly #fileOfSymbol = new Map<string, DescFile>();

  /** Makes a service, its file and all files that it imports known. */
  add(service: DescService): void {
    this.#services.push(service.typeName);
    this.addFile(service.file);
  }

  /** Makes a file and all files that it imports known. */
  addFile(file: DescFile): void {
    if (this.#files.has(file.proto.name)) return;
    this.#files.set(file.proto.name, file);
    for (const imported of file.dependencies) this.addFile(imported);
    for (const type of nestedTypes(file)) {
      this.#fileOfSymbol.set(type.typeName, file);
      if (type.kind === 'message') {
        for (const member of [...type.fields, ...type.oneofs]) {
          this.#fileOfSymbol.set(`${type.typeName}.${member.name}`, file);
        }
      } else if (type.kind === 'service') {
        for (const method of type.methods) {
          this.#fileOfSymbol.set(`${type.typeName}.${method.name}`, file);
        }
      } else if (type.kind === 'enum') {
        // The scope of a value is that of its enum, not the enum itself.
        const scope = type.typeName.slice(0, type.typeName.lastIndexOf('.') + 1);
        for (const value of type.values) this.#fileOfSymbol.set(scope + value.name, file);
      }
    }
  }

  /** The handler of `ServerReflectionInfo`, of both versions. */
  readonly handler = (
    call: ServerDuplexStream<ServerReflectionRequest, ServerReflectionResponse>,
  ): void => {
    call.on('data', (request: ServerReflectionRequest) => {
      const roomy = call.write(this.answer(request));
      if (!roomy) {
        call.pause();
        call.once('drain', () => call.resume());
      }
    });
    call.on('end', () => call.end());
  };

  /** The answer to one question. */
  answer(request: ServerReflectionRequest): ServerReflectionResponse {
    return create(ServerReflectionResponseSchema, {
      validHost: request.host,
      originalRequest: request,
      messageResponse: this.#answerTo(request.messageRequest),
    });
  }

  #answerTo(question: ServerReflectionRequest['messageRequest']): Answer {
    switch (question.case) {
      case 'listServices':
        return listing(this.#services);
      case 'fileByFilename':
        return this.#describe(this.#files.get(question.value), `file ${question.value}`);
      case 'fileContainingSymbol':
        return this.#describe(this.#fileOfSymbol.get(question.value), `symbol ${question.value}`);
      case 'allExtensionNumbersOfType':
        return this.#fileOfSymbol.has(question.value)
          ? noExtensions(question.value)
          : failure(status.NOT_FOUND, `This server knows no type ${question.value}.`);
      case 'fileContainingExtension':
        return failure(status.NOT_FOUND, 'The schemas of this server have no extensions.');
      case undefined:
        return failure(status.INVALID_ARGUMENT, 'The request asks nothing; set message_request.');
      default:
        return question satisfies never;
    }
  }

  #describe(file: DescFile | undefined, wanted: string): Answer {
    if (file === undefined) {
      return failure(status.NOT_FOUND, `This server knows no ${wanted}.`);
    }
    const closure = new Set<DescFile>();
    collect(file, closure);
    return {
      case: 'fileDescriptorResponse',
      value: {
        $typeName: 'grpc.reflection.v1.FileDescriptorResponse',
        fileDescriptorProto: Array.from(closure, ({ proto }) =>
          toBinary(FileDescriptorProtoSchema, proto),
        ),
      },
    };
  }
}

/** The file first, then what it imports, each once. */
function collect(file: DescFile, into: Set<DescFile>): void {
  if (into.has(file)) return;
  into.add(file);
  for (const imported of file.dependencies) collect(imported, into);
}

function listing(services: readonly string[]): Answer {
  return {
    case: 'listServicesResponse',
    value: {
      $typeName: 'grpc.reflection.v1.ListServiceResponse',
      service: services
        .toSorted()
        .map((name) => ({ $typeName: 'grpc.reflection.v1.ServiceResponse', name })),
    },
  };
}

function noExtensions(baseTypeName: string): Answer {
  return {
    case: 'allExtensionNumbersResponse',
    value: {
      $typeName: 'grpc.reflection.v1.ExtensionNumberResponse',
      baseTypeName,
      extensionNumber: [],
    },
  };
}

function failure(errorCode: status, errorMessage: string): Answer {
  return {
    case: 'errorResponse',
    value: {
      $typeName: 'grpc.reflection.v1.ErrorResponse',
      errorCode,
      errorMessage: errorMessage.toWellFormed(),
    },
  };
}
