// The official client of RocketMQ 5 for Java, driven by commands: one JSON object a line in, one out. See
// ../official-client.ts for what they are.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.apache.rocketmq.client.apis.ClientConfiguration;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.StaticSessionCredentialsProvider;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.FilterExpressionType;
import org.apache.rocketmq.client.apis.consumer.PushConsumer;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.MessageBuilder;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.ProducerBuilder;
import org.apache.rocketmq.client.apis.producer.SendReceipt;
import org.apache.rocketmq.client.apis.producer.Transaction;
import org.apache.rocketmq.client.apis.producer.TransactionResolution;
import org.apache.rocketmq.shaded.com.google.gson.Gson;
import org.apache.rocketmq.shaded.com.google.gson.JsonArray;
import org.apache.rocketmq.shaded.com.google.gson.JsonElement;
import org.apache.rocketmq.shaded.com.google.gson.JsonObject;
import org.apache.rocketmq.shaded.com.google.gson.JsonParser;

public class Main {
  private static final ClientServiceProvider PROVIDER = ClientServiceProvider.loadService();
  private static final Pattern RESPONSE_CODE = Pattern.compile("response-code=(\\d+)");
  private static ClientConfiguration configuration;
  private static Producer producer;
  private static SimpleConsumer simple;
  private static PushConsumer push;
  private static final List<MessageView> received = new ArrayList<>();
  private static final List<Map<String, Object>> pushed =
      Collections.synchronizedList(new ArrayList<>());

  public static void main(String[] args) throws Exception {
    var builder =
        ClientConfiguration.newBuilder()
            .setEndpoints(args[0])
            .enableSsl("true".equals(System.getenv("ROCKETMQ_TLS")));
    if (args.length > 2) {
      builder.setCredentialProvider(new StaticSessionCredentialsProvider(args[1], args[2]));
    }
    configuration = builder.build();
    var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    System.setOut(System.err);
    var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      JsonObject command = JsonParser.parseString(line).getAsJsonObject();
      Map<String, Object> answer = new HashMap<>();
      answer.put("ok", true);
      try {
        run(command, answer);
      } catch (Throwable error) {
        answer.put("ok", false);
        answer.put("error", String.valueOf(error));
        // Only the exceptions of the client know the code; its interfaces do not.
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
          var code = RESPONSE_CODE.matcher(String.valueOf(cause.getMessage()));
          if (code.find()) answer.putIfAbsent("code", Integer.parseInt(code.group(1)));
        }
      }
      out.println(new Gson().toJson(answer));
      if (text(command, "do").equals("close")) System.exit(0);
    }
  }

  private static String text(JsonObject command, String name) {
    JsonElement value = command.get(name);
    return value == null || value.isJsonNull() ? "" : value.getAsString();
  }

  private static Map<String, FilterExpression> subscription(JsonObject command) {
    JsonObject filter = command.getAsJsonObject("filter");
    var type =
        text(filter, "type").equals("sql") ? FilterExpressionType.SQL92 : FilterExpressionType.TAG;
    return Map.of(text(command, "topic"), new FilterExpression(text(filter, "expression"), type));
  }

  private static Map<String, Object> told(MessageView message) {
    byte[] body = new byte[message.getBody().remaining()];
    message.getBody().get(body);
    Map<String, Object> told = new HashMap<>();
    told.put("messageId", message.getMessageId().toString());
    told.put("body", new String(body, StandardCharsets.UTF_8));
    told.put("tag", message.getTag().orElse(""));
    told.put("keys", new ArrayList<>(message.getKeys()));
    told.put("properties", message.getProperties());
    told.put("messageGroup", message.getMessageGroup().orElse(""));
    told.put("attempt", message.getDeliveryAttempt());
    return told;
  }

  private static void run(JsonObject command, Map<String, Object> answer) throws Exception {
    switch (text(command, "do")) {
      case "producer":
        openProducer(command);
        break;
      case "send":
        send(command, answer);
        break;
      case "recall":
        answer.put(
            "messageId",
            producer
                .recallMessage(text(command, "topic"), text(command, "recallHandle"))
                .getMessageId()
                .toString());
        break;
      case "simple":
        simple =
            PROVIDER
                .newSimpleConsumerBuilder()
                .setClientConfiguration(configuration)
                .setConsumerGroup(text(command, "group"))
                .setAwaitDuration(Duration.ofMillis(command.get("awaitMs").getAsLong()))
                .setSubscriptionExpressions(subscription(command))
                .build();
        break;
      case "receive":
        List<Map<String, Object>> messages = new ArrayList<>();
        Duration invisible = Duration.ofMillis(command.get("invisibleMs").getAsLong());
        for (MessageView message : simple.receive(command.get("max").getAsInt(), invisible)) {
          received.add(message);
          Map<String, Object> one = told(message);
          one.put("handle", received.size());
          messages.add(one);
        }
        answer.put("messages", messages);
        break;
      case "ack":
        simple.ack(received.get(command.get("handle").getAsInt() - 1));
        break;
      case "change":
        simple.changeInvisibleDuration(
            received.get(command.get("handle").getAsInt() - 1),
            Duration.ofMillis(command.get("invisibleMs").getAsLong()));
        break;
      case "push":
        push =
            PROVIDER
                .newPushConsumerBuilder()
                .setClientConfiguration(configuration)
                .setConsumerGroup(text(command, "group"))
                .setSubscriptionExpressions(subscription(command))
                .setMessageListener(
                    message -> {
                      Map<String, Object> one = told(message);
                      boolean failed = ((String) one.get("body")).startsWith("fail");
                      one.put("failed", failed);
                      pushed.add(one);
                      return failed ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS;
                    })
                .build();
        break;
      case "pushed":
        long untilNs = System.nanoTime() + command.get("withinMs").getAsLong() * 1_000_000;
        while (pushed.size() < command.get("count").getAsInt() && System.nanoTime() < untilNs) {
          Thread.sleep(20);
        }
        synchronized (pushed) {
          answer.put("messages", new ArrayList<>(pushed));
        }
        break;
      case "close":
        if (producer != null) producer.close();
        if (simple != null) simple.close();
        if (push != null) push.close();
        break;
      default:
        throw new IllegalArgumentException(text(command, "do"));
    }
  }

  private static void openProducer(JsonObject command) throws Exception {
    List<String> topics = new ArrayList<>();
    for (JsonElement topic : command.getAsJsonArray("topics")) topics.add(topic.getAsString());
    ProducerBuilder builder =
        PROVIDER
            .newProducerBuilder()
            .setClientConfiguration(configuration)
            .setTopics(topics.toArray(new String[0]));
    String checker = text(command, "checker");
    if (!checker.isEmpty()) {
      builder.setTransactionChecker(
          message ->
              checker.equals("commit")
                  ? TransactionResolution.COMMIT
                  : TransactionResolution.ROLLBACK);
    }
    producer = builder.build();
  }

  private static void send(JsonObject command, Map<String, Object> answer) throws Exception {
    MessageBuilder builder =
        PROVIDER
            .newMessageBuilder()
            .setTopic(text(command, "topic"))
            .setBody(text(command, "body").getBytes(StandardCharsets.UTF_8));
    if (!text(command, "tag").isEmpty()) builder.setTag(text(command, "tag"));
    JsonArray keys = command.getAsJsonArray("keys");
    if (keys != null) {
      List<String> all = new ArrayList<>();
      for (JsonElement key : keys) all.add(key.getAsString());
      builder.setKeys(all.toArray(new String[0]));
    }
    JsonObject properties = command.getAsJsonObject("properties");
    if (properties != null) {
      properties.entrySet().forEach(e -> builder.addProperty(e.getKey(), e.getValue().getAsString()));
    }
    String group = text(command, "messageGroup");
    if (!group.isEmpty()) builder.setMessageGroup(group);
    if (command.has("delayMs")) {
      long delayMs = command.get("delayMs").getAsLong();
      builder.setDeliveryTimestamp(System.currentTimeMillis() + delayMs);
    }
    String how = text(command, "transaction");
    if (how.isEmpty()) {
      SendReceipt receipt = producer.send(builder.build());
      answer.put("messageId", receipt.getMessageId().toString());
      answer.put("recallHandle", receipt.getRecallHandle() == null ? "" : receipt.getRecallHandle());
      return;
    }
    Transaction transaction = producer.beginTransaction();
    SendReceipt receipt = producer.send(builder.build(), transaction);
    answer.put("messageId", receipt.getMessageId().toString());
    answer.put("recallHandle", "");
    if (how.equals("commit")) transaction.commit();
    if (how.equals("rollback")) transaction.rollback();
  }
}
