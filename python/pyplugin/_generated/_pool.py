# Made by scripts/gen_protos.py. Do not edit.
"""The descriptor pool of this package alone."""

from google.protobuf import descriptor_pool, message_factory

POOL = descriptor_pool.DescriptorPool()
# grpc_broker.proto
POOL.AddSerializedFile((
    b'\n\x11grpc_broker.proto\x12\x06plugin"\xd2\x01\n\x08ConnInfo\x12\x1d\n\nservice_id\x18\x01 \x01(\r'
    b'R\tserviceId\x12\x18\n\x07network\x18\x02 \x01(\tR\x07network\x12\x18\n\x07address\x18\x03 \x01(\tR\x07addr'
    b'ess\x12,\n\x05knock\x18\x04 \x01(\x0b2\x16.plugin.ConnInfo.KnockR\x05knock\x1aE\n\x05Knock\x12\x14'
    b'\n\x05knock\x18\x01 \x01(\x08R\x05knock\x12\x10\n\x03ack\x18\x02 \x01(\x08R\x03ack\x12\x14\n\x05error\x18\x03 \x01(\tR\x05error'
    b'2C\n\nGRPCBroker\x125\n\x0bStartStream\x12\x10.plugin.ConnInfo\x1a\x10.plugin.Con'
    b'nInfo(\x010\x01b\x06proto3'
))
# grpc_controller.proto
POOL.AddSerializedFile((
    b'\n\x15grpc_controller.proto\x12\x06plugin"\x07\n\x05Empty2:\n\x0eGRPCController\x12('
    b'\n\x08Shutdown\x12\r.plugin.Empty\x1a\r.plugin.Emptyb\x06proto3'
))
# google/protobuf/empty.proto
POOL.AddSerializedFile((
    b'\n\x1bgoogle/protobuf/empty.proto\x12\x0fgoogle.protobuf"\x07\n\x05Emptyb\x06pro'
    b'to3'
))
# grpc_stdio.proto
POOL.AddSerializedFile((
    b'\n\x10grpc_stdio.proto\x12\x06plugin\x1a\x1bgoogle/protobuf/empty.proto"\x84\x01\n\t'
    b'StdioData\x123\n\x07channel\x18\x01 \x01(\x0e2\x19.plugin.StdioData.ChannelR\x07chann'
    b'el\x12\x12\n\x04data\x18\x02 \x01(\x0cR\x04data".\n\x07Channel\x12\x0b\n\x07INVALID\x10\x00\x12\n\n\x06STDOUT\x10\x01\x12\n'
    b'\n\x06STDERR\x10\x022G\n\tGRPCStdio\x12:\n\x0bStreamStdio\x12\x16.google.protobuf.Emp'
    b'ty\x1a\x11.plugin.StdioData0\x01b\x06proto3'
))


def message_class(name):
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))
